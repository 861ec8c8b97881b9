"""How a process that serves something gets its data key.

The server of a volume, for one: nbdkit's plugin connects to the release socket, shows the ticket of
its attachment, the wrapped data key from the volume's header and a one-time public key, each as
fields of one JSON line. It is answered the data key sealed to that public key, or the published
error. A ticket counts only in the hands of the very process it was registered for.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any, NoReturn

from evsd.errors import PublishedError
from evsd.key_channel.call import UNKNOWN, Call
from evsd.key_channel.tickets import ticket_digest
from evsd.key_process import envelope
from evsd.key_process.use_records import UsageLog
from evsd.processes import Process
from evsd.services.kms.errors import CiphertextInvalid, TicketRefused
from evsd.services.kms.key_process.service_keys import ServiceKeys
from evsd.services.kms.tables import KeyRelease
from evsd.store.database import Database

# A request that no consumer has registered is of no kind; records have called it so from the first
# day, when there was one.
STRANGE = "release-volume-key"


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """The fields of a request."""

    release_id: str
    ticket: str
    public_key: bytes
    wrapped_dek: bytes


class KeyReleases:
    """Answers the processes that were registered for a key."""

    def __init__(self, database: Database, keys: ServiceKeys, usage: UsageLog) -> None:
        self._database, self._keys, self._used = database, keys, usage.used

    def answer(self, line: bytes, peer_pid: int) -> bytes:
        """One request line in, one answer line out."""
        try:
            request = _parse(line)
            if request is None:
                self._refuse("", peer_pid)
            encapsulated, sealed = self._release(request, peer_pid)
            reply: dict[str, Any] = {
                "encapsulated_key": encapsulated.hex(),
                "sealed_dek": sealed.hex(),
            }
        except PublishedError as error:
            reply = {"error": {"code": error.code, "message": error.text}}
        return json.dumps(reply).encode() + b"\n"

    def _release(self, request: KeyRequest, peer_pid: int) -> tuple[bytes, bytes]:
        with self._database.reading() as session:
            release = session.get(KeyRelease, request.release_id)
        if release is None or not _is_for(release, request.ticket, peer_pid):
            self._refuse(request.release_id, peer_pid)
        consumer = self._keys.consumers[release.service]
        source, action = f"pid:{peer_pid}", f"release-{consumer.kind}-key"
        call = Call(release.principal, release.domain_id, release.project_id, source, release.id)
        if len(request.public_key) != envelope.ENCAPSULATED_LENGTH:
            with self._used(call, action, release.key_id, release.context):
                raise CiphertextInvalid(reason="the public key is not an X25519 key")
        data_key = self._keys.unwrap(
            call, consumer, action, release.key_id, request.wrapped_dek, release.context
        )
        return envelope.seal(data_key, request.public_key, release.id)

    def _refuse(self, release_id: str, peer_pid: int) -> NoReturn:
        """A false ticket is a refused use of a key, and recorded like one."""
        unknown = Call(UNKNOWN, "", "", f"pid:{peer_pid}", release_id[:64])
        with self._used(unknown, STRANGE):
            raise TicketRefused()


def _parse(line: bytes) -> KeyRequest | None:
    """The request, or None for what is none."""
    try:
        fields = json.loads(line)
        return KeyRequest(
            release_id=str(fields["attachment_id"]),
            ticket=str(fields["ticket"]),
            public_key=bytes.fromhex(fields["public_key"]),
            wrapped_dek=base64.b64decode(fields["wrapped_dek"], validate=True),
        )
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error):
        return None


def _is_for(release: KeyRelease, ticket: str, peer_pid: int) -> bool:
    return envelope.same_secret(
        ticket_digest(ticket), release.ticket_sha256
    ) and release.process == Process.of(peer_pid)
