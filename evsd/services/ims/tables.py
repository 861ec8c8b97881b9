"""The tables of IMS."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from evsd.store.tables import Id, Stateful


class Image(Stateful):
    """An image. Its disk is the file of the pool that has its id, from the day it is active.

    `data_key` is a `ServiceKey`, there from the first day: so a key that can't be used is refused
    before anything is sent. `size` is that of the file it was made of, in bytes, `virtual_size` of
    the disk in it, both None until they are known; `disk_format` is what the file was. `origin`
    says what it was made of.
    """

    __tablename__ = "images"
    __table_args__ = (UniqueConstraint("project_id", "name"),)
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), index=True)
    name: Mapped[str] = mapped_column(String(255))
    description: Mapped[str] = mapped_column(String(1024), default="")
    status: Mapped[str] = mapped_column(String(32), index=True)
    cmk_id: Mapped[str] = mapped_column(ForeignKey("keys.id"))
    data_key: Mapped[dict[str, Any]]
    origin: Mapped[str] = mapped_column(String(80), default="file")
    disk_format: Mapped[str | None] = mapped_column(String(16))
    container_format: Mapped[str | None] = mapped_column(String(16))
    size: Mapped[int | None] = mapped_column(BigInteger)
    virtual_size: Mapped[int | None] = mapped_column(BigInteger)
    checksum: Mapped[str | None] = mapped_column(String(64))
    min_disk: Mapped[int] = mapped_column(default=0)
    min_ram: Mapped[int] = mapped_column(default=0)
    protected: Mapped[bool] = mapped_column(default=False)
    properties: Mapped[dict[str, str]] = mapped_column(default=dict)
    tags: Mapped[list[str]] = mapped_column(default=list)
    user_name: Mapped[str] = mapped_column(String(64))
    user_id: Mapped[str] = mapped_column(Id, default="")
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    active_at: Mapped[datetime | None]
