"""The tables of the KMS."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from evsd.processes import Process
from evsd.store.tables import Base, Id, Stateful


class Cmk(Stateful):
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
    """How far the clock is to be trusted; one row, see `evsd.services.kms.key_process.clock`."""

    __tablename__ = "clock"
    id: Mapped[int] = mapped_column(primary_key=True)
    seen_at: Mapped[datetime]
    steady_since: Mapped[datetime]


class TokenRecord(Base):
    """The token that holds the keys: one row, whose check value is that of its sentinel."""

    __tablename__ = "tokens"
    id: Mapped[int] = mapped_column(primary_key=True)
    check_value: Mapped[str] = mapped_column(String(16))


class KeyRelease(Base):
    """Which process may have a data key, on which ticket, in whose name; see `consumers`.

    Of the `service` it is the record of one use of one thing, of the same `id`, and ends with it.
    """

    __tablename__ = "key_releases"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    service: Mapped[str] = mapped_column(String(16))
    domain_id: Mapped[str] = mapped_column(ForeignKey("domains.id"))
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    principal: Mapped[str] = mapped_column(String(255))
    key_id: Mapped[str] = mapped_column(ForeignKey("keys.id"))
    context: Mapped[dict[str, str]]
    ticket_sha256: Mapped[str] = mapped_column(String(64))
    pid: Mapped[int]
    start: Mapped[int]
    boot: Mapped[str] = mapped_column(String(36))

    @property
    def process(self) -> Process:
        """The one that may have it; it may have ended."""
        return Process(self.pid, self.start, self.boot)


class KeyDependent(Base):
    """A thing that can't be read any more once its CMK is destroyed; see `consumers`.

    The services that have such things write it, each with its own record.
    """

    __tablename__ = "key_dependents"
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)  # "volume"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(255))
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    key_id: Mapped[str] = mapped_column(ForeignKey("keys.id"), index=True)
    since: Mapped[datetime]
