"""The table of jobs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from evsd.store.tables import Base, Id, OnHost


class Job(OnHost, Base):
    """A multi-step operation: what the published API shows as a job, and the journal of it.

    Its owner is the evsd of the host `host_id`, in the `boot` in which it began. `entities` is what
    is shown of what it is about, `arguments` what else it works with, until it has ended.
    """

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    type: Mapped[str] = mapped_column(String(32))
    status: Mapped[str] = mapped_column(String(16), index=True)
    entities: Mapped[dict[str, Any]] = mapped_column(default=dict)
    arguments: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    boot: Mapped[str | None] = mapped_column(String(36))
    error_code: Mapped[str | None] = mapped_column(String(32))
    fail_reason: Mapped[str | None] = mapped_column(String(1024))
    begin_at: Mapped[datetime]
    end_at: Mapped[datetime | None]
