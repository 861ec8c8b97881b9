"""The tables. Which process writes what: evsd volumes, attachments and jobs, evsd-keys the rest.

What it writes has its record in the audit log; only it writes that.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, DateTime, ForeignKey, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from evsd.processes import Process

Id = String(64)


class Base(DeclarativeBase):
    """Parent of all tables."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: DateTime(timezone=False),  # always UTC, as the published API prints it
        dict[str, Any]: JSON,
        dict[str, str]: JSON,
        list[str]: JSON,
        bytes: LargeBinary,
    }


class Domain(Base):
    """A tenant."""

    __tablename__ = "domains"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)


class Project(Base):
    """A project of a tenant, in one region."""

    __tablename__ = "projects"
    __table_args__ = (UniqueConstraint("domain_id", "name"),)
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    domain_id: Mapped[str] = mapped_column(ForeignKey("domains.id"))
    name: Mapped[str] = mapped_column(String(64))
    region: Mapped[str] = mapped_column(String(64))
    parent_id: Mapped[str | None] = mapped_column(Id)  # the project above this one, if any
    description: Mapped[str] = mapped_column(String(255), default="")


class User(Base):
    """A user of a tenant. One `from_settings` is a Unix user's, and only the settings change it."""

    __tablename__ = "users"
    __table_args__ = (UniqueConstraint("domain_id", "name"),)
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    domain_id: Mapped[str] = mapped_column(ForeignKey("domains.id"))
    name: Mapped[str] = mapped_column(String(64))
    description: Mapped[str] = mapped_column(String(255), default="")
    email: Mapped[str] = mapped_column(String(255), default="")
    enabled: Mapped[bool] = mapped_column(default=True)
    from_settings: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime]


class Group(Base):
    """A group of users: what roles are given to."""

    __tablename__ = "groups"
    __table_args__ = (UniqueConstraint("domain_id", "name"),)
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    domain_id: Mapped[str] = mapped_column(ForeignKey("domains.id"))
    name: Mapped[str] = mapped_column(String(64))
    description: Mapped[str] = mapped_column(String(255), default="")
    created_at: Mapped[datetime]


class GroupMember(Base):
    """A user in a group."""

    __tablename__ = "group_members"
    group_id: Mapped[str] = mapped_column(
        ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[str] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True
    )


class GroupRole(Base):
    """A role of a group; the target is its domain, with all projects, or one project."""

    __tablename__ = "group_roles"
    group_id: Mapped[str] = mapped_column(
        ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True
    )
    target_id: Mapped[str] = mapped_column(Id, primary_key=True)
    role_id: Mapped[str] = mapped_column(Id, primary_key=True)


class Agency(Base):
    """A tenant's trust in another domain, for some time or for ever (`expires_at` is None).

    An agency that trusts `op_svc_evs` delegates to the volume service.
    """

    __tablename__ = "agencies"
    __table_args__ = (UniqueConstraint("domain_id", "name"),)
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    domain_id: Mapped[str] = mapped_column(ForeignKey("domains.id"))
    name: Mapped[str] = mapped_column(String(64))
    trust_domain_name: Mapped[str] = mapped_column(String(64))
    description: Mapped[str] = mapped_column(String(255), default="")
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]


class AgencyRole(Base):
    """What an agency may do in one project."""

    __tablename__ = "agency_roles"
    agency_id: Mapped[str] = mapped_column(
        ForeignKey("agencies.id", ondelete="CASCADE"), primary_key=True
    )
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    role_id: Mapped[str] = mapped_column(Id, primary_key=True)


class AccessKey(Base):
    """An AK/SK pair that acts as a user; the secret is wrapped by the token.

    A temporary pair has an end and a security token, and may act as an agency for its user.
    """

    __tablename__ = "access_keys"
    access: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    agency_id: Mapped[str | None] = mapped_column(ForeignKey("agencies.id", ondelete="CASCADE"))
    wrapped_secret: Mapped[bytes]
    active: Mapped[bool] = mapped_column(default=True)
    description: Mapped[str] = mapped_column(String(255), default="")
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None] = mapped_column(index=True)
    token_sha256: Mapped[str | None] = mapped_column(String(64))


class Cmk(Base):
    """A customer master key. The key itself is an object on the token, found by id and version."""

    __tablename__ = "keys"
    __table_args__ = (
        UniqueConstraint("project_id", "alias"),
        Index(
            "ix_keys_listed", "project_id", "created_at", "id", "status"
        ),  # a page of 10,000 keys
    )
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    domain_id: Mapped[str] = mapped_column(ForeignKey("domains.id"))
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), index=True)
    alias: Mapped[str] = mapped_column(String(255))
    description: Mapped[str] = mapped_column(String(255), default="")
    status: Mapped[str] = mapped_column(String(2))
    is_default: Mapped[bool] = mapped_column(default=False)
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime]
    origin: Mapped[str] = mapped_column(String(16), default="kms", server_default="kms")
    deletion_at: Mapped[datetime | None]
    rotation_days: Mapped[int | None]  # while it is rotated
    rotation_from: Mapped[datetime | None]  # the day from which the next rotation counts
    import_token_sha256: Mapped[str | None] = mapped_column(String(64))


class KeyVersion(Base):
    """One version of a CMK: one or two objects on the token, until they are gone."""

    __tablename__ = "key_versions"
    key_id: Mapped[str] = mapped_column(ForeignKey("keys.id"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    profile: Mapped[str] = mapped_column(String(24), default="aes-gcm", server_default="aes-gcm")
    created_at: Mapped[datetime]
    material_sha256: Mapped[str | None] = mapped_column(String(64))  # of imported material
    expires_at: Mapped[datetime | None]
    gone_at: Mapped[datetime | None]


class KeyTag(Base):
    """A tag of a CMK."""

    __tablename__ = "key_tags"
    key_id: Mapped[str] = mapped_column(ForeignKey("keys.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(36), primary_key=True)
    value: Mapped[str] = mapped_column(String(43), default="")


class Grant(Base):
    """What one user, or all of one domain, may do with one CMK."""

    __tablename__ = "grants"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    key_id: Mapped[str] = mapped_column(ForeignKey("keys.id"), index=True)
    name: Mapped[str] = mapped_column(String(255), default="")
    grantee: Mapped[str] = mapped_column(Id, index=True)
    grantee_type: Mapped[str] = mapped_column(String(8))
    operations: Mapped[list[str]]
    issuer: Mapped[str] = mapped_column(Id)
    retiring_principal: Mapped[str] = mapped_column(Id, default="", index=True)
    created_at: Mapped[datetime]


class Clock(Base):
    """How far the clock is to be trusted; one row, see `evsd.kms.clock`."""

    __tablename__ = "clock"
    id: Mapped[int] = mapped_column(primary_key=True)
    seen_at: Mapped[datetime]
    steady_since: Mapped[datetime]


class History(Base):
    """How many changes the database has seen; one row, by both, see `evsd.store.changes`.

    It stays `restored` until somebody has said that it is to be gone on with.
    """

    __tablename__ = "history"
    id: Mapped[int] = mapped_column(primary_key=True)
    changes: Mapped[int]
    restored: Mapped[bool]


class TokenRecord(Base):
    """The token that holds the keys: one row, whose check value is that of its sentinel."""

    __tablename__ = "tokens"
    id: Mapped[int] = mapped_column(primary_key=True)
    check_value: Mapped[str] = mapped_column(String(16))


class AuditMark(Base):
    """How far the audit log had come; one row, see `evsd.audit.mark`."""

    __tablename__ = "audit_marks"
    id: Mapped[int] = mapped_column(primary_key=True)
    sequence: Mapped[int]
    hash: Mapped[str] = mapped_column(String(64))


class Volume(Base):
    """A volume. `wrapped_dek` is a copy of what its LUKS2 header holds."""

    __tablename__ = "volumes"
    __table_args__ = (UniqueConstraint("project_id", "name"),)
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), index=True)
    name: Mapped[str] = mapped_column(String(255))
    description: Mapped[str] = mapped_column(String(255), default="")
    size_gib: Mapped[int]
    volume_type: Mapped[str] = mapped_column(String(32))
    availability_zone: Mapped[str] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(String(32), index=True)
    thin: Mapped[bool] = mapped_column(default=True)
    cmk_id: Mapped[str] = mapped_column(ForeignKey("keys.id"))
    wrapped_dek: Mapped[bytes]
    extra_metadata: Mapped[dict[str, str]] = mapped_column(default=dict)
    tags: Mapped[dict[str, str]] = mapped_column(default=dict)
    user_name: Mapped[str] = mapped_column(String(64))
    user_id: Mapped[str] = mapped_column(Id, default="", server_default="")
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Quota(Base):
    """How much a project may have; without a row, or a number, there is no limit."""

    __tablename__ = "quotas"
    project_id: Mapped[str] = mapped_column(
        ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True
    )
    volumes: Mapped[int | None]
    gigabytes: Mapped[int | None]


class Attachment(Base):
    """One use of a volume: reserved for a host, or served by one nbdkit process.

    `server` is that process, kept in three columns; `ticket_sha256` is what its key request must
    match. Its socket is for the Unix user `owner_uid`, where whoever attached it is one.
    """

    __tablename__ = "attachments"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), index=True)
    volume_id: Mapped[str] = mapped_column(ForeignKey("volumes.id"), unique=True)
    status: Mapped[str] = mapped_column(String(32), index=True)
    mode: Mapped[str] = mapped_column(String(2), default="rw")
    instance: Mapped[str | None] = mapped_column(String(64))
    connector: Mapped[dict[str, Any]] = mapped_column(default=dict)
    server_pid: Mapped[int | None]
    server_start: Mapped[int | None]
    server_boot: Mapped[str | None] = mapped_column(String(36))
    ticket_sha256: Mapped[str | None] = mapped_column(String(64))
    attached_by: Mapped[str | None] = mapped_column(String(255))
    owner_uid: Mapped[int | None]
    attached_at: Mapped[datetime | None]
    created_at: Mapped[datetime]

    @property
    def server(self) -> Process | None:
        """The process that was started last, if any was; it may have ended."""
        if self.server_pid is None or self.server_start is None or self.server_boot is None:
            return None
        return Process(self.server_pid, self.server_start, self.server_boot)

    @server.setter
    def server(self, process: Process) -> None:
        self.server_pid, self.server_start = process.pid, process.started
        self.server_boot = process.boot


class Job(Base):
    """A multi-step operation: what the published API shows as a job, and the journal of it."""

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    type: Mapped[str] = mapped_column(String(32))
    status: Mapped[str] = mapped_column(String(16), index=True)
    entities: Mapped[dict[str, Any]] = mapped_column(default=dict)
    error_code: Mapped[str | None] = mapped_column(String(32))
    fail_reason: Mapped[str | None] = mapped_column(String(1024))
    begin_at: Mapped[datetime]
    end_at: Mapped[datetime | None]
