"""How the server of an attached volume gets its data key.

nbdkit's plugin connects to the release socket, shows the ticket of its attachment, the wrapped
data key from the volume's header and a one-time public key, each as fields of one JSON line. It is
answered the data key sealed to that public key, or the published error. A ticket counts only in
the hands of the very process evsd started for the attachment.
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
from evsd.key_process import crypto
from evsd.key_process.usage import UsageLog
from evsd.processes import Process
from evsd.services.evs.key_context import encryption_context, service_call
from evsd.services.evs.tables import Volume
from evsd.services.iam.tables import Project
from evsd.services.kms.errors import BadCiphertext, TicketRefused
from evsd.services.kms.key_process.service_keys import ServiceKeys
from evsd.serving.tables import ServerRecord
from evsd.store.database import Database

RELEASE = "release-volume-key"


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """The fields of a plugin's request."""

    attachment_id: str
    ticket: str
    public_key: bytes
    wrapped_dek: bytes


class KeyRelease:
    """Answers the servers of volumes."""

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
            server = session.get(ServerRecord, request.attachment_id)
            if server is None or not _is_it(server, request.ticket, peer_pid):
                self._refuse(request.attachment_id, peer_pid)
            volume = session.get_one(Volume, server.disk_id)
            project = session.get_one(Project, volume.project_id)
        call = service_call(volume, project, f"pid:{peer_pid}", server.id)
        context = encryption_context(project.id, volume.id)
        if len(request.public_key) != crypto.ENCAPSULATED_LENGTH:
            with self._used(call, RELEASE, volume.cmk_id, context):
                raise BadCiphertext(reason="the public key is not an X25519 key")
        data_key = self._keys.unwrap_volume_key(
            call, RELEASE, volume.cmk_id, request.wrapped_dek, context
        )
        return crypto.seal(data_key, request.public_key, server.id)

    def _refuse(self, attachment_id: str, peer_pid: int) -> NoReturn:
        """A false ticket is a refused use of a key, and recorded like one."""
        unknown = Call(UNKNOWN, "", "", f"pid:{peer_pid}", attachment_id[:64])
        with self._used(unknown, RELEASE):
            raise TicketRefused()


def _parse(line: bytes) -> KeyRequest | None:
    """The request, or None for what is none."""
    try:
        fields = json.loads(line)
        return KeyRequest(
            attachment_id=str(fields["attachment_id"]),
            ticket=str(fields["ticket"]),
            public_key=bytes.fromhex(fields["public_key"]),
            wrapped_dek=base64.b64decode(fields["wrapped_dek"], validate=True),
        )
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error):
        return None


def _is_it(server: ServerRecord, ticket: str, peer_pid: int) -> bool:
    return (
        crypto.same_secret(ticket_digest(ticket), server.ticket_sha256)
        and server.process is not None
        and server.process == Process.of(peer_pid)
    )
