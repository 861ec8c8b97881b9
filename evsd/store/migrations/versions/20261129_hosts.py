"""servers have records of their own; records say which host they are of"""

import sqlalchemy as sa
from alembic import op

revision = "20261129_hosts"
down_revision = "20261129_key_consumers"
branch_labels = None
depends_on = None

# Columns of attachments that are their servers' now.
MOVED = ("server_pid", "server_start", "server_boot", "owner_uid")


def upgrade() -> None:
    op.create_table(
        "servers",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("disk_id", sa.String(64), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("host_id", sa.String(64), nullable=True),
        sa.Column("own", sa.Boolean(), nullable=False),
        sa.Column("read_only", sa.Boolean(), nullable=False),
        sa.Column("owner_uid", sa.Integer(), nullable=True),
        sa.Column("device", sa.String(64), nullable=False),
        sa.Column("key_use", sa.JSON(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("started", sa.Integer(), nullable=True),
        sa.Column("boot", sa.String(36), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("disk_id"),
    )
    op.create_index("ix_servers_status", "servers", ["status"])
    # Those that serve go on, under the same ids: nobody loses a disk by an upgrade.
    op.execute(
        "INSERT INTO servers (id, disk_id, status, own, read_only, owner_uid, device,"
        " key_use, pid, started, boot)"
        " SELECT id, volume_id,"
        " CASE status WHEN 'detaching' THEN 'ending' WHEN 'attaching' THEN 'kept'"
        " WHEN 'attached' THEN 'kept' ELSE 'wanted' END,"
        " status = 'internal', mode = 'ro', owner_uid,"
        " CASE WHEN json_extract(connector, '$.transport') IN ('kernel', 'fuse')"
        " THEN 'evsd-' || id ELSE '' END,"
        " coalesce((SELECT json_object('service', service, 'principal', principal,"
        " 'domain_id', domain_id, 'project_id', key_releases.project_id, 'key_id', key_id,"
        " 'context', json(context)) FROM key_releases WHERE key_releases.id = attachments.id),"
        " '{}'), server_pid, server_start, server_boot"
        " FROM attachments WHERE status != 'reserved'"
    )
    op.execute("DELETE FROM attachments WHERE status = 'internal'")
    for name in MOVED:
        op.drop_column("attachments", name)
    op.add_column("attachments", sa.Column("host_id", sa.String(64), nullable=True))
    op.add_column("jobs", sa.Column("host_id", sa.String(64), nullable=True))
    op.add_column("jobs", sa.Column("boot", sa.String(36), nullable=True))
    op.add_column(
        "jobs", sa.Column("arguments", sa.JSON(), nullable=False, server_default=sa.text("'{}'"))
    )
