"""How the plugin asks for its data key: one JSON line each way over a unix socket.

Request: `attachment_id`, `ticket` (hex), `public_key` (hex, of the one-time key), `volume_id`,
`cmk_id`, `wrapped_dek` (base64), `context` (object of strings). Answer: `encapsulated_key` and
`sealed_dek` (hex), or `error` with the published `code` and `message`. The data key is sealed to
the public key: neither this module nor any other Python code ever has it.
"""

from __future__ import annotations

import time
from _socket import AF_UNIX, socket  # `socket` adds enums and selectors, 0.5 MB in every server

from nbd_plugin import compactjson

RELEASE_INFO = b"evsd key release v1:"  # and the attachment id: what a key is sealed for
TIMEOUT_S = 10.0  # for the whole exchange
ANSWER_LIMIT = 64 * 1024


class ReleaseError(Exception):
    """The key was not released."""


class KeyRefused(ReleaseError):
    """The key service said no; `code` is the published one, e.g. KMS.0209."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code} {message}")
        self.code = code


class ServiceUnavailable(ReleaseError):
    """The key service could not be reached, or did not answer as agreed."""


def ask(path: str, request: dict[str, object]) -> tuple[bytes, bytes]:
    """Send `request` to the service at the socket `path`.

    Returns (encapsulated key, sealed data key). Raises `KeyRefused` or `ServiceUnavailable`.
    """
    try:
        line = _exchange(path, compactjson.dumps(request).encode() + b"\n")
    except TimeoutError:
        raise ServiceUnavailable(f"the key service did not answer in {TIMEOUT_S:g} s") from None
    except OSError as error:
        raise ServiceUnavailable(
            f"the key service can't be reached at {path}: {error.strerror}"
        ) from None
    try:
        return _parse(line)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ServiceUnavailable("the key service's answer is malformed") from None


def _exchange(path: str, line: bytes) -> bytes:
    deadline = time.monotonic() + TIMEOUT_S
    connection = socket(AF_UNIX)
    try:
        connection.settimeout(TIMEOUT_S)
        connection.connect(path)
        connection.sendall(line)
        answer = b""
        while not answer.endswith(b"\n"):
            connection.settimeout(max(deadline - time.monotonic(), 0.001))
            part = connection.recv(ANSWER_LIMIT)
            answer += part
            if not part or len(answer) > ANSWER_LIMIT:
                raise ServiceUnavailable("the key service's answer is incomplete or too long")
        return answer
    finally:
        connection.close()


def _parse(line: bytes) -> tuple[bytes, bytes]:
    answer = compactjson.loads(line.decode())
    if "error" in answer:
        error = answer["error"]
        raise KeyRefused(_printable(error["code"]), _printable(error["message"]))
    return bytes.fromhex(answer["encapsulated_key"]), bytes.fromhex(answer["sealed_dek"])


def _printable(text: str) -> str:
    """What may go into a log: one line of it."""
    return "".join(c if c.isprintable() else " " for c in text)[:1000]
