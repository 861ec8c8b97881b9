"""The tables. Which process writes what: evsd-keys the keys and access keys, evsd all others."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, DateTime, ForeignKey, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Id = String(64)


class Base(DeclarativeBase):
    """Parent of all tables."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: DateTime(timezone=False),  # always UTC, as the published API prints it
        dict[str, Any]: JSON,
        dict[str, str]: JSON,
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


class Agency(Base):
    """A tenant's trust in another domain: in `op_svc_evs`, the volume service."""

    __tablename__ = "agencies"
    __table_args__ = (UniqueConstraint("domain_id", "name"),)
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    domain_id: Mapped[str] = mapped_column(ForeignKey("domains.id"))
    name: Mapped[str] = mapped_column(String(64))
    trust_domain_name: Mapped[str] = mapped_column(String(64))
    description: Mapped[str] = mapped_column(String(255), default="")
    created_at: Mapped[datetime]


class AgencyRole(Base):
    """What an agency may do in one project."""

    __tablename__ = "agency_roles"
    agency_id: Mapped[str] = mapped_column(
        ForeignKey("agencies.id", ondelete="CASCADE"), primary_key=True
    )
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    role_id: Mapped[str] = mapped_column(Id, primary_key=True)


class AccessKey(Base):
    """An AK/SK pair that acts as the user who made it; the secret is wrapped by the token."""

    __tablename__ = "access_keys"
    access: Mapped[str] = mapped_column(String(64), primary_key=True)
    domain_id: Mapped[str] = mapped_column(ForeignKey("domains.id"))
    user_name: Mapped[str] = mapped_column(String(64))
    wrapped_secret: Mapped[bytes]
    description: Mapped[str] = mapped_column(String(255), default="")
    created_at: Mapped[datetime]


class Cmk(Base):
    """A customer master key. The key itself is an object on the token, found by id and version."""

    __tablename__ = "keys"
    __table_args__ = (UniqueConstraint("project_id", "alias"),)
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    domain_id: Mapped[str] = mapped_column(ForeignKey("domains.id"))
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), index=True)
    alias: Mapped[str] = mapped_column(String(255))
    description: Mapped[str] = mapped_column(String(255), default="")
    status: Mapped[str] = mapped_column(String(2))
    is_default: Mapped[bool] = mapped_column(default=False)
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime]


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
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Attachment(Base):
    """One use of a volume: reserved for a host, or served by one nbdkit process.

    `server_pid` and `server_start` (clock ticks since boot, field 22 of /proc/PID/stat) name that
    process beyond pid reuse; `ticket_sha256` is what its key request must match.
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
    ticket_sha256: Mapped[str | None] = mapped_column(String(64))
    attached_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


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
