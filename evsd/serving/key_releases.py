"""Whom a server's key is released to: the KMS keeps a list."""

from __future__ import annotations

from typing import Protocol

from sqlalchemy.orm import Session

from evsd.key_channel.key_use import KeyUse
from evsd.processes import Process


class Releases(Protocol):
    """The KMS's list of processes that may have a key: `evsd.services.kms.consumers`."""

    def register_release(
        self,
        session: Session,
        release_id: str,
        use: KeyUse,
        process: Process,
        ticket: str,
    ) -> None:
        """Enter a process instead of the one before."""

    def withdraw_release(self, session: Session, release_id: str) -> None:
        """Strike it out."""

    def ticket_sha256(self, session: Session, release_id: str) -> str:
        """The digest of the ticket of whoever is entered; "" where nobody is."""
