"""The tables. Which process writes what: evsd the records of what tenants have, evsd-keys the rest.

evsd's are volumes, attachments and jobs, and what it registers with the KMS for them (releases and
dependents of keys). What evsd-keys writes has its record in the audit log; only it writes that.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, ColumnElement, DateTime, LargeBinary, String, or_
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

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


class Stateful(Base):
    """Parent of the tables whose records follow a state machine."""

    __abstract__ = True
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    status: Mapped[str] = mapped_column(String(32), index=True)


class OnHost:
    """Mixed into the tables of what is done on one host, whose records that host alone touches.

    Without an id a record is from before hosts were told apart: of the one there was.
    """

    host_id: Mapped[str | None] = mapped_column(Id)

    @classmethod
    def on(cls, host_id: str) -> ColumnElement[bool]:
        """Whether a record is of this host."""
        return or_(cls.host_id == host_id, cls.host_id.is_(None))

    def is_on(self, host_id: str) -> bool:
        """The same of one that was read."""
        return self.host_id in (host_id, None)


class History(Base):
    """How many changes the database has seen; one row, by both, see `evsd.store.changes`.

    It stays `restored` until somebody has said that it is to be gone on with.
    """

    __tablename__ = "history"
    id: Mapped[int] = mapped_column(primary_key=True)
    changes: Mapped[int]
    restored: Mapped[bool]
