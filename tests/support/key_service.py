"""A small real key service for the plugin's tests, with the `cryptography` package's own HPKE."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def seal(dek: bytes, public_key: bytes, attachment_id: str) -> tuple[bytes, bytes]:
    """Returns (encapsulated key, sealed DEK)."""
    recipient = X25519PublicKey.from_public_bytes(public_key)
    info = b"evsd key release v1:" + attachment_id.encode()
    sealed = _SUITE.encrypt(dek, recipient, info)
    return sealed[:32], sealed[32:]


class KeyService:
    """What it releases and to whom, and every request it got."""

    def __init__(self, socket: Path, dek: bytes, ticket: str) -> None:
        self.socket = socket
        self.dek = dek
        self.others: dict[str, bytes] = {}  # the DEK of a volume, where it has another
        self.ticket = ticket
        self.asks_for_tickets = True
        self.requests: list[dict[str, Any]] = []
        self.refusal: dict[str, str] | None = None
        self.raw_answer: bytes | None = None
        self.seal_for: str | None = None  # another attachment than the one that asks

    def answer(self, line: bytes) -> bytes:
        """One request line in, one answer line out."""
        request = json.loads(line)
        self.requests.append(request)
        if self.raw_answer is not None:
            return self.raw_answer
        if self.asks_for_tickets and request["ticket"] != self.ticket:
            return _line({"error": {"code": "IAM.0403", "message": "wrong ticket"}})
        if self.refusal:
            return _line({"error": self.refusal})
        encapsulated, sealed = seal(
            self.others.get(request["volume_id"], self.dek),
            bytes.fromhex(request["public_key"]),
            self.seal_for or request["attachment_id"],
        )
        return _line({"encapsulated_key": encapsulated.hex(), "sealed_dek": sealed.hex()})


def _line(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer).encode() + b"\n"


@contextmanager
def running(service: KeyService) -> Iterator[KeyService]:
    """Serve on the service's socket until the block ends."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(service.answer(self.rfile.readline()))

    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True

    with Server(str(service.socket), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield service
        finally:
            server.shutdown()
            thread.join()
