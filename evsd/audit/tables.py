"""The audit log's table."""

from __future__ import annotations

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from evsd.store.tables import Base


class AuditMark(Base):
    """How far the audit log had come; one row, see `evsd.audit.mark`."""

    __tablename__ = "audit_marks"
    id: Mapped[int] = mapped_column(primary_key=True)
    sequence: Mapped[int]
    hash: Mapped[str] = mapped_column(String(64))
