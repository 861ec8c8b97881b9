"""Telling a running server something: its control socket, see `nbd_plugin.control`."""

from __future__ import annotations

import array
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evsd.resource import Resource
from evsd.serving.failures import ServerFailed

ANSWER_LIMIT = 4096
TIMEOUT_S = 60.0  # the server answers when a client's last flush is done
FLUSH_TIMEOUT_S = 600.0  # what a busy client has written may take minutes


class ControlFailed(ServerFailed):
    """The server could not be told, or refused; whether it did what it was told is not known."""


class ControlRefused(ControlFailed):
    """The server's answer is that it did not do it."""


class ControlMissing(ControlFailed):
    """Nothing listens there: an earlier evsd has started the server, or it has ended."""


@dataclass(frozen=True, slots=True)
class Served:
    """The layer that a server writes to, and its size in bytes."""

    layer_id: str
    size: int


class ServerControl:
    """One server. All methods may be called again, and raise `ControlFailed`.

    `ticket_sha256` is the digest of the ticket that the server was started with.
    """

    def __init__(self, path: Path, ticket_sha256: str) -> None:
        self._path, self._ticket_sha256 = path, ticket_sha256

    def status(self) -> Served:
        """What it serves now."""
        return self._ask("status")

    def switch(self, layer: int) -> Served:
        """Let it write to the layer of this descriptor from now on; it may do so already."""
        return self._ask("switch", layer)

    def grow(self) -> Served:
        """Let it see the size that the header says by now."""
        return self._ask("grow")

    def flush(self) -> Served:
        """Wait until all that was written so far is on disk, in whichever layer."""
        return self._ask("flush", timeout_s=FLUSH_TIMEOUT_S)

    def held(self) -> HeldServer:
        """Let its clients' requests wait, for a block that takes less than a second."""
        return HeldServer(_Conversation(self._path, self._ticket_sha256))

    def _ask(self, do: str, *layers: int, timeout_s: float = TIMEOUT_S) -> Served:
        with _Conversation(self._path, self._ticket_sha256) as conversation:
            return conversation.ask(do, *layers, timeout_s=timeout_s)


class HeldServer(Resource):
    """A server whose clients' requests wait; they go on when it is closed, or takes too long."""

    def __init__(self, conversation: _Conversation) -> None:
        self._conversation = conversation
        try:
            conversation.ask("hold")
        except ControlFailed:
            conversation.close()
            raise

    def close(self) -> None:
        """Let them go on."""
        self._conversation.close()

    def switch(self, layer: int) -> Served:
        """As `ServerControl.switch`."""
        return self._conversation.ask("switch", layer)

    def require_held(self) -> None:
        """Raises `ControlFailed` where requests have gone on meanwhile."""
        self._conversation.ask("status")


class _Conversation(Resource):
    def __init__(self, path: Path, ticket_sha256: str) -> None:
        self._ticket_sha256 = ticket_sha256
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(TIMEOUT_S)
        try:
            with _short(path) as name:
                self._socket.connect(name)
        except OSError as error:
            self._socket.close()
            raise ControlMissing(
                f"the server has no control socket ({error.strerror}): detach and attach"
            ) from error

    def close(self) -> None:
        self._socket.close()

    def ask(self, do: str, *layers: int, timeout_s: float = TIMEOUT_S) -> Served:
        message = json.dumps({"ticket_sha256": self._ticket_sha256, "do": do}).encode()
        try:
            self._socket.settimeout(timeout_s)
            self._socket.sendmsg([message], _passing(layers))
            answer: dict[str, Any] = json.loads(self._socket.recv(ANSWER_LIMIT))
        except (OSError, ValueError) as error:
            raise ControlFailed(f"the server did not answer to {do}: {error}") from error
        if "error" in answer:
            raise ControlRefused(f"the server did not {do}: {answer['error']}")
        return Served(answer["layer_id"], answer["size"])


def listening(path: Path) -> socket.socket:
    """A control socket for a server to inherit; raises OSError."""
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with _short(path) as name:
            made.bind(name)
        path.chmod(0o600)
        made.listen()
    except OSError:
        made.close()
        raise
    return made


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name with less than the 107 characters that an address holds."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def _passing(descriptors: tuple[int, ...]) -> list[tuple[int, int, array.array[int]]]:
    if not descriptors:
        return []
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
