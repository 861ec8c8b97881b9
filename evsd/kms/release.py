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

from evsd.errors import BadCiphertext, PublishedError, TicketRefused
from evsd.kms import crypto
from evsd.kms.call import Call
from evsd.kms.context import encryption_context
from evsd.kms.service import KeyService
from evsd.kms.usage import UsageLog
from evsd.processes import start_time
from evsd.store.database import Database
from evsd.store.tables import Attachment, Project, Volume

REQUEST_LIMIT = 64 * 1024


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """The fields of a plugin's request."""

    attachment_id: str
    ticket: str
    public_key: bytes
    wrapped_dek: bytes


class KeyRelease:
    """Answers the servers of volumes."""

    def __init__(self, database: Database, keys: KeyService, usage: UsageLog) -> None:
        self._database, self._keys, self._used = database, keys, usage.used

    def answer(self, line: bytes, peer_pid: int) -> bytes:
        """One request line in, one answer line out."""
        try:
            encapsulated, sealed = self._release(_parse(line), peer_pid)
            reply: dict[str, Any] = {
                "encapsulated_key": encapsulated.hex(),
                "sealed_dek": sealed.hex(),
            }
        except PublishedError as error:
            reply = {"error": {"code": error.code, "message": error.text}}
        return json.dumps(reply).encode() + b"\n"

    def _release(self, request: KeyRequest, peer_pid: int) -> tuple[bytes, bytes]:
        with self._database.reading() as session:
            attachment = session.get(Attachment, request.attachment_id)
            if attachment is None or not _is_its_server(attachment, request.ticket, peer_pid):
                self._refuse(request, peer_pid)
            volume = session.get_one(Volume, attachment.volume_id)
            project = session.get_one(Project, volume.project_id)
        call = Call(
            principal=f"service:evs for {volume.user_name}",
            domain_id=project.domain_id,
            project_id=project.id,
            source=f"pid:{peer_pid}",
            request_id=attachment.id,
        )
        context = encryption_context(project.id, volume.id)
        data_key = self._keys.unwrap_volume_key(
            call, "release-volume-key", volume.cmk_id, request.wrapped_dek, context
        )
        try:
            return crypto.seal(data_key, request.public_key, attachment.id)
        except ValueError as error:
            raise BadCiphertext(reason="the public key is not an X25519 key") from error

    def _refuse(self, request: KeyRequest, peer_pid: int) -> NoReturn:
        """A false ticket is a refused use of a key, and recorded like one."""
        unknown = Call("unknown", "", "", f"pid:{peer_pid}", request.attachment_id[:64])
        with self._used(unknown, "release-volume-key"):
            raise TicketRefused()


def _parse(line: bytes) -> KeyRequest:
    try:
        fields = json.loads(line)
        return KeyRequest(
            attachment_id=str(fields["attachment_id"]),
            ticket=str(fields["ticket"]),
            public_key=bytes.fromhex(fields["public_key"]),
            wrapped_dek=base64.b64decode(fields["wrapped_dek"], validate=True),
        )
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error) as error:
        raise TicketRefused() from error


def _is_its_server(attachment: Attachment, ticket: str, peer_pid: int) -> bool:
    return (
        crypto.same_secret(crypto.ticket_digest(ticket), attachment.ticket_sha256)
        and peer_pid == attachment.server_pid
        and start_time(peer_pid) == attachment.server_start
    )
