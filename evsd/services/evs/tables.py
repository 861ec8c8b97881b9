"""The tables of EVS."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from evsd.processes import Process
from evsd.store.tables import Base, Id, Stateful


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


class Quota(Base):
    """How much a project may have; without a row, or a number, there is no limit."""

    __tablename__ = "quotas"
    project_id: Mapped[str] = mapped_column(
        ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True
    )
    volumes: Mapped[int | None]
    gigabytes: Mapped[int | None]


class Attachment(Stateful):
    """One use of a volume: reserved for a host, or served by one nbdkit process.

    `server` is that process, kept in three columns: whom evsd watches, and has to end. Whether it
    may have the key too, its `KeyRelease` says, which goes first. Its socket is for the Unix user
    `owner_uid`, where whoever attached it is one.
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
