"""Whom a server's key is released to: the KMS keeps a list."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from sqlalchemy.orm import Session

from evsd.key_channel.key_use import KeyUse
from evsd.processes import Process


@dataclass(frozen=True, slots=True)
class LayerKey:
    """The key of layers that a clone has of another disk, and on what request it is released."""

    release_id: str
    key_id: str
    context: dict[str, str]

    def use(self, clones: KeyUse) -> KeyUse:
        """In the name of whoever uses the clone."""
        return replace(clones, key_id=self.key_id, context=self.context)


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
        """Strike it out, and all that is released on the same ticket."""

    def ticket_sha256(self, session: Session, release_id: str) -> str:
        """The digest of the ticket of whoever is entered; "" where nobody is."""
