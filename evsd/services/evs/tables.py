"""The tables of EVS."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from evsd.services.evs.attachments.connector import Connector, ConnectorColumn
from evsd.store.tables import Base, Id, OnHost, Stateful


class Volume(Stateful):
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
    snapshot_id: Mapped[str | None] = mapped_column(Id)  # of which it was made, there or not


class Snapshot(Stateful):
    """A snapshot of a volume. `size_gib` is what that had then."""

    __tablename__ = "snapshots"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), index=True)
    volume_id: Mapped[str] = mapped_column(ForeignKey("volumes.id"), index=True)
    group_id: Mapped[str | None] = mapped_column(ForeignKey("snapshot_groups.id"), index=True)
    name: Mapped[str] = mapped_column(String(255))
    description: Mapped[str] = mapped_column(String(255), default="")
    size_gib: Mapped[int]
    volume_type: Mapped[str] = mapped_column(String(32))
    availability_zone: Mapped[str] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(String(32), index=True)
    cmk_id: Mapped[str] = mapped_column(ForeignKey("keys.id"))
    extra_metadata: Mapped[dict[str, str]] = mapped_column(default=dict)
    tags: Mapped[dict[str, str]] = mapped_column(default=dict)
    user_name: Mapped[str] = mapped_column(String(64))
    user_id: Mapped[str] = mapped_column(Id, default="", server_default="")
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class SnapshotGroup(Base):
    """Snapshots of several volumes at one moment; its status is what they are like."""

    __tablename__ = "snapshot_groups"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), index=True)
    name: Mapped[str] = mapped_column(String(255))
    description: Mapped[str] = mapped_column(String(255), default="")
    tags: Mapped[dict[str, str]] = mapped_column(default=dict)
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
    snapshots: Mapped[int | None]


class ClientToken(Base):
    """A request that may be repeated, see `volumes.client_tokens`: what it asked for, and began."""

    __tablename__ = "client_tokens"
    project_id: Mapped[str] = mapped_column(
        ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True
    )
    token: Mapped[str] = mapped_column(String(36), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(index=True)


class Attachment(OnHost, Stateful):
    """One use of a volume: reserved for a host, or served there by the server of the same id."""

    __tablename__ = "attachments"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), index=True)
    volume_id: Mapped[str] = mapped_column(ForeignKey("volumes.id"), unique=True)
    status: Mapped[str] = mapped_column(String(32), index=True)
    mode: Mapped[str] = mapped_column(String(2), default="rw")
    instance: Mapped[str | None] = mapped_column(String(64))
    connector: Mapped[Connector] = mapped_column(ConnectorColumn, default=Connector())
    attached_by: Mapped[str | None] = mapped_column(String(255))
    attached_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
