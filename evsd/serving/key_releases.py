"""By which key a disk is served, and whom a server's key is released to: the KMS keeps a list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sqlalchemy.orm import Session

from evsd.key_channel.call import Call
from evsd.processes import Process


@dataclass(frozen=True, slots=True)
class KeyUse:
    """A data key that a server needs: of which service, for whom, under which CMK, bound to what.

    It stays the same however often the server is started again.
    """

    service: str
    principal: str
    domain_id: str
    project_id: str
    key_id: str
    context: dict[str, str]


class Releases(Protocol):
    """The KMS's list of processes that may have a key: `evsd.services.kms.consumers`."""

    def register_release(
        self,
        session: Session,
        release_id: str,
        service: str,
        call: Call,
        key_id: str,
        context: dict[str, str],
        process: Process,
        ticket: str,
    ) -> None:
        """Enter a process instead of the one before."""

    def withdraw_release(self, session: Session, release_id: str) -> None:
        """Strike it out."""
