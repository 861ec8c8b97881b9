"""Tables."""

from __future__ import annotations

from typing import Any

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from evsd.processes import Process
from evsd.store.tables import Id, OnHost, Stateful


class ServerRecord(OnHost, Stateful):
    """A server of a disk: there before its process is started, and until that has ended.

    A disk is what a file of the pool holds, and never has two. `own` is evsd's own use: nobody else
    may connect, where else the Unix user `owner_uid` may. `device` is the export name of the host's
    device, if there is to be one, `key_use` what it needs of the KMS, see `KeyUse`. `process` is
    kept in three columns: whom evsd watches, and has to end.
    """

    __tablename__ = "servers"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    disk_id: Mapped[str] = mapped_column(Id, unique=True)
    own: Mapped[bool]
    read_only: Mapped[bool]
    owner_uid: Mapped[int | None]
    device: Mapped[str] = mapped_column(String(64))
    key_use: Mapped[dict[str, Any]]
    pid: Mapped[int | None]
    started: Mapped[int | None]
    boot: Mapped[str | None] = mapped_column(String(36))

    @property
    def process(self) -> Process | None:
        """The one that was started last, if any was; it may have ended."""
        if self.pid is None or self.started is None or self.boot is None:
            return None
        return Process(self.pid, self.started, self.boot)

    @process.setter
    def process(self, process: Process) -> None:
        self.pid, self.started, self.boot = process.pid, process.started, process.boot
