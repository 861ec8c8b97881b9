CREATE TABLE "access_keys" (
	access VARCHAR(64) NOT NULL, 
	user_id VARCHAR(64) NOT NULL, 
	agency_id VARCHAR(64), 
	wrapped_secret BLOB NOT NULL, 
	active BOOLEAN NOT NULL, 
	description VARCHAR(255) NOT NULL, 
	created_at DATETIME NOT NULL, 
	last_used_at DATETIME, 
	expires_at DATETIME, 
	token_sha256 VARCHAR(64), 
	PRIMARY KEY (access), 
	FOREIGN KEY(agency_id) REFERENCES agencies (id) ON DELETE CASCADE, 
	FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE TABLE agencies (
	id VARCHAR(64) NOT NULL, 
	domain_id VARCHAR(64) NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	trust_domain_name VARCHAR(64) NOT NULL, 
	description VARCHAR(255) NOT NULL, 
	created_at DATETIME NOT NULL, expires_at DATETIME, 
	PRIMARY KEY (id), 
	FOREIGN KEY(domain_id) REFERENCES domains (id), 
	UNIQUE (domain_id, name)
);
CREATE TABLE agency_roles (
	agency_id VARCHAR(64) NOT NULL, 
	project_id VARCHAR(64) NOT NULL, 
	role_id VARCHAR(64) NOT NULL, 
	PRIMARY KEY (agency_id, project_id, role_id), 
	FOREIGN KEY(agency_id) REFERENCES agencies (id) ON DELETE CASCADE, 
	FOREIGN KEY(project_id) REFERENCES projects (id)
);
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('20261130_clones');
CREATE TABLE attachments (
	id VARCHAR(64) NOT NULL, 
	project_id VARCHAR(64) NOT NULL, 
	volume_id VARCHAR(64) NOT NULL, 
	status VARCHAR(32) NOT NULL, 
	mode VARCHAR(2) NOT NULL, 
	instance VARCHAR(64), 
	connector JSON NOT NULL, 
	attached_at DATETIME, 
	created_at DATETIME NOT NULL, attached_by VARCHAR(255), host_id VARCHAR(64), 
	PRIMARY KEY (id), 
	FOREIGN KEY(project_id) REFERENCES projects (id), 
	FOREIGN KEY(volume_id) REFERENCES volumes (id), 
	UNIQUE (volume_id)
);
CREATE TABLE audit_marks (
	id INTEGER NOT NULL, 
	sequence INTEGER NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE bearer_tokens (
	id VARCHAR(64) NOT NULL, 
	user_id VARCHAR(64) NOT NULL, 
	access VARCHAR(64), 
	token_sha256 VARCHAR(64) NOT NULL, 
	description VARCHAR(255) NOT NULL, 
	created_at DATETIME NOT NULL, 
	expires_at DATETIME NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	FOREIGN KEY(access) REFERENCES access_keys (access) ON DELETE CASCADE
);
CREATE TABLE client_tokens (
	project_id VARCHAR(64) NOT NULL, 
	token VARCHAR(36) NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	job_id VARCHAR(64) NOT NULL, 
	created_at DATETIME NOT NULL, 
	PRIMARY KEY (project_id, token), 
	FOREIGN KEY(project_id) REFERENCES projects (id) ON DELETE CASCADE, 
	FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
);
CREATE TABLE clock (
	id INTEGER NOT NULL, 
	seen_at DATETIME NOT NULL, 
	steady_since DATETIME NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE domains (
	id VARCHAR(64) NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (name)
);
CREATE TABLE grants (
	id VARCHAR(64) NOT NULL, 
	key_id VARCHAR(64) NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	grantee VARCHAR(64) NOT NULL, 
	grantee_type VARCHAR(8) NOT NULL, 
	operations JSON NOT NULL, 
	issuer VARCHAR(64) NOT NULL, 
	retiring_principal VARCHAR(64) NOT NULL, 
	created_at DATETIME NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(key_id) REFERENCES keys (id)
);
CREATE TABLE group_members (
	group_id VARCHAR(64) NOT NULL, 
	user_id VARCHAR(64) NOT NULL, 
	PRIMARY KEY (group_id, user_id), 
	FOREIGN KEY(group_id) REFERENCES groups (id) ON DELETE CASCADE, 
	FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE TABLE group_roles (
	group_id VARCHAR(64) NOT NULL, 
	target_id VARCHAR(64) NOT NULL, 
	role_id VARCHAR(64) NOT NULL, 
	PRIMARY KEY (group_id, target_id, role_id), 
	FOREIGN KEY(group_id) REFERENCES groups (id) ON DELETE CASCADE
);
CREATE TABLE groups (
	id VARCHAR(64) NOT NULL, 
	domain_id VARCHAR(64) NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	description VARCHAR(255) NOT NULL, 
	created_at DATETIME NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(domain_id) REFERENCES domains (id), 
	UNIQUE (domain_id, name)
);
CREATE TABLE history (
	id INTEGER NOT NULL, 
	changes INTEGER NOT NULL, 
	restored BOOLEAN NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "history" VALUES(1,0,0);
CREATE TABLE images (
	id VARCHAR(64) NOT NULL, 
	project_id VARCHAR(64) NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	description VARCHAR(1024) NOT NULL, 
	status VARCHAR(32) NOT NULL, 
	cmk_id VARCHAR(64) NOT NULL, 
	data_key JSON NOT NULL, 
	origin VARCHAR(80) NOT NULL, 
	disk_format VARCHAR(16), 
	container_format VARCHAR(16), 
	size BIGINT, 
	virtual_size BIGINT, 
	checksum VARCHAR(64), 
	min_disk INTEGER NOT NULL, 
	min_ram INTEGER NOT NULL, 
	protected BOOLEAN NOT NULL, 
	properties JSON NOT NULL, 
	tags JSON NOT NULL, 
	user_name VARCHAR(64) NOT NULL, 
	user_id VARCHAR(64) NOT NULL, 
	created_at DATETIME NOT NULL, 
	updated_at DATETIME NOT NULL, 
	active_at DATETIME, 
	PRIMARY KEY (id), 
	UNIQUE (project_id, name), 
	FOREIGN KEY(project_id) REFERENCES projects (id), 
	FOREIGN KEY(cmk_id) REFERENCES keys (id)
);
CREATE TABLE jobs (
	id VARCHAR(64) NOT NULL, 
	project_id VARCHAR(64) NOT NULL, 
	type VARCHAR(32) NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	entities JSON NOT NULL, 
	error_code VARCHAR(32), 
	fail_reason VARCHAR(1024), 
	begin_at DATETIME NOT NULL, 
	end_at DATETIME, host_id VARCHAR(64), boot VARCHAR(36), arguments JSON DEFAULT '{}' NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(project_id) REFERENCES projects (id)
);
CREATE TABLE key_dependents (
	kind VARCHAR(16) NOT NULL, 
	id VARCHAR(64) NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	project_id VARCHAR(64) NOT NULL, 
	key_id VARCHAR(64) NOT NULL, 
	since DATETIME NOT NULL, 
	PRIMARY KEY (kind, id), 
	FOREIGN KEY(project_id) REFERENCES projects (id), 
	FOREIGN KEY(key_id) REFERENCES keys (id)
);
CREATE TABLE key_releases (
	id VARCHAR(64) NOT NULL, 
	service VARCHAR(16) NOT NULL, 
	domain_id VARCHAR(64) NOT NULL, 
	project_id VARCHAR(64) NOT NULL, 
	principal VARCHAR(255) NOT NULL, 
	key_id VARCHAR(64) NOT NULL, 
	context JSON NOT NULL, 
	ticket_sha256 VARCHAR(64) NOT NULL, 
	pid INTEGER NOT NULL, 
	start INTEGER NOT NULL, 
	boot VARCHAR(36) NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(domain_id) REFERENCES domains (id), 
	FOREIGN KEY(project_id) REFERENCES projects (id), 
	FOREIGN KEY(key_id) REFERENCES keys (id)
);
CREATE TABLE key_tags (
	key_id VARCHAR(64) NOT NULL, 
	name VARCHAR(36) NOT NULL, 
	value VARCHAR(43) NOT NULL, 
	PRIMARY KEY (key_id, name), 
	FOREIGN KEY(key_id) REFERENCES keys (id)
);
CREATE TABLE key_versions (
	key_id VARCHAR(64) NOT NULL, 
	version INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	material_sha256 VARCHAR(64), 
	expires_at DATETIME, 
	gone_at DATETIME, profile VARCHAR(24) DEFAULT 'aes-gcm' NOT NULL, 
	PRIMARY KEY (key_id, version), 
	FOREIGN KEY(key_id) REFERENCES keys (id)
);
CREATE TABLE keys (
	id VARCHAR(64) NOT NULL, 
	domain_id VARCHAR(64) NOT NULL, 
	project_id VARCHAR(64) NOT NULL, 
	alias VARCHAR(255) NOT NULL, 
	description VARCHAR(255) NOT NULL, 
	status VARCHAR(2) NOT NULL, 
	is_default BOOLEAN NOT NULL, 
	version INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, origin VARCHAR(16) DEFAULT 'kms' NOT NULL, deletion_at DATETIME, rotation_days INTEGER, rotation_from DATETIME, import_token_sha256 VARCHAR(64), 
	PRIMARY KEY (id), 
	FOREIGN KEY(domain_id) REFERENCES domains (id), 
	FOREIGN KEY(project_id) REFERENCES projects (id), 
	UNIQUE (project_id, alias)
);
CREATE TABLE projects (
	id VARCHAR(64) NOT NULL, 
	domain_id VARCHAR(64) NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	region VARCHAR(64) NOT NULL, parent_id VARCHAR(64), description VARCHAR(255) DEFAULT '' NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(domain_id) REFERENCES domains (id), 
	UNIQUE (domain_id, name)
);
CREATE TABLE quotas (
	project_id VARCHAR(64) NOT NULL, 
	volumes INTEGER, 
	gigabytes INTEGER, snapshots INTEGER, 
	PRIMARY KEY (project_id), 
	FOREIGN KEY(project_id) REFERENCES projects (id) ON DELETE CASCADE
);
CREATE TABLE servers (
	id VARCHAR(64) NOT NULL, 
	disk_id VARCHAR(64) NOT NULL, 
	status VARCHAR(32) NOT NULL, 
	host_id VARCHAR(64), 
	own BOOLEAN NOT NULL, 
	read_only BOOLEAN NOT NULL, 
	owner_uid INTEGER, 
	device VARCHAR(64) NOT NULL, 
	key_use JSON NOT NULL, 
	pid INTEGER, 
	started INTEGER, 
	boot VARCHAR(36), 
	PRIMARY KEY (id), 
	UNIQUE (disk_id)
);
CREATE TABLE snapshot_groups (
	id VARCHAR(64) NOT NULL, 
	project_id VARCHAR(64) NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	description VARCHAR(255) NOT NULL, 
	tags JSON NOT NULL, 
	created_at DATETIME NOT NULL, 
	updated_at DATETIME NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(project_id) REFERENCES projects (id)
);
CREATE TABLE snapshots (
	id VARCHAR(64) NOT NULL, 
	project_id VARCHAR(64) NOT NULL, 
	volume_id VARCHAR(64) NOT NULL, 
	group_id VARCHAR(64), 
	name VARCHAR(255) NOT NULL, 
	description VARCHAR(255) NOT NULL, 
	size_gib INTEGER NOT NULL, 
	volume_type VARCHAR(32) NOT NULL, 
	availability_zone VARCHAR(64) NOT NULL, 
	status VARCHAR(32) NOT NULL, 
	cmk_id VARCHAR(64) NOT NULL, 
	extra_metadata JSON NOT NULL, 
	tags JSON NOT NULL, 
	user_name VARCHAR(64) NOT NULL, 
	user_id VARCHAR(64) DEFAULT '' NOT NULL, 
	created_at DATETIME NOT NULL, 
	updated_at DATETIME NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(project_id) REFERENCES projects (id), 
	FOREIGN KEY(volume_id) REFERENCES volumes (id), 
	FOREIGN KEY(group_id) REFERENCES snapshot_groups (id), 
	FOREIGN KEY(cmk_id) REFERENCES keys (id)
);
CREATE TABLE tokens (
	id INTEGER NOT NULL, 
	check_value VARCHAR(16) NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE users (
	id VARCHAR(64) NOT NULL, 
	domain_id VARCHAR(64) NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	description VARCHAR(255) NOT NULL, 
	email VARCHAR(255) NOT NULL, 
	enabled BOOLEAN NOT NULL, 
	from_settings BOOLEAN NOT NULL, 
	created_at DATETIME NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(domain_id) REFERENCES domains (id), 
	UNIQUE (domain_id, name)
);
CREATE TABLE volumes (
	id VARCHAR(64) NOT NULL, 
	project_id VARCHAR(64) NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	description VARCHAR(255) NOT NULL, 
	size_gib INTEGER NOT NULL, 
	volume_type VARCHAR(32) NOT NULL, 
	availability_zone VARCHAR(64) NOT NULL, 
	status VARCHAR(32) NOT NULL, 
	thin BOOLEAN NOT NULL, 
	cmk_id VARCHAR(64) NOT NULL, 
	wrapped_dek BLOB NOT NULL, 
	extra_metadata JSON NOT NULL, 
	tags JSON NOT NULL, 
	user_name VARCHAR(64) NOT NULL, 
	created_at DATETIME NOT NULL, 
	updated_at DATETIME NOT NULL, user_id VARCHAR(64) DEFAULT '' NOT NULL, snapshot_id VARCHAR(64), 
	PRIMARY KEY (id), 
	FOREIGN KEY(cmk_id) REFERENCES keys (id), 
	FOREIGN KEY(project_id) REFERENCES projects (id), 
	UNIQUE (project_id, name)
);
CREATE INDEX ix_jobs_status ON jobs (status);
CREATE INDEX ix_keys_project_id ON keys (project_id);
CREATE INDEX ix_volumes_project_id ON volumes (project_id);
CREATE INDEX ix_volumes_status ON volumes (status);
CREATE INDEX ix_attachments_project_id ON attachments (project_id);
CREATE INDEX ix_attachments_status ON attachments (status);
CREATE INDEX ix_grants_grantee ON grants (grantee);
CREATE INDEX ix_grants_key_id ON grants (key_id);
CREATE INDEX ix_grants_retiring_principal ON grants (retiring_principal);
CREATE INDEX ix_group_members_user_id ON group_members (user_id);
CREATE INDEX ix_access_keys_user_id ON access_keys (user_id);
CREATE INDEX ix_access_keys_expires_at ON access_keys (expires_at);
CREATE INDEX ix_keys_listed ON keys (project_id, created_at, id, status);
CREATE INDEX ix_key_dependents_key_id ON key_dependents (key_id);
CREATE INDEX ix_servers_status ON servers (status);
CREATE INDEX ix_client_tokens_created_at ON client_tokens (created_at);
CREATE INDEX ix_snapshot_groups_project_id ON snapshot_groups (project_id);
CREATE INDEX ix_snapshots_project_id ON snapshots (project_id);
CREATE INDEX ix_snapshots_volume_id ON snapshots (volume_id);
CREATE INDEX ix_snapshots_group_id ON snapshots (group_id);
CREATE INDEX ix_snapshots_status ON snapshots (status);
CREATE INDEX ix_images_project_id ON images (project_id);
CREATE INDEX ix_images_status ON images (status);
CREATE INDEX ix_bearer_tokens_user_id ON bearer_tokens (user_id);
CREATE INDEX ix_bearer_tokens_access ON bearer_tokens (access);
CREATE INDEX ix_bearer_tokens_expires_at ON bearer_tokens (expires_at);
