"""What whoever started the server can tell it while it serves.

`control_fd` is a unix socket that was inherited and listens (SOCK_SEQPACKET): so one evsd can go on
where another ended. A message is one JSON object each way::

    {"ticket_sha256": HEX, "do": "switch"}   and a descriptor (SCM_RIGHTS): write to this layer
    {"ticket_sha256": HEX, "do": "grow"}     the header says a larger size by now
    {"ticket_sha256": HEX, "do": "flush"}    wait until all that was written is on disk
    {"ticket_sha256": HEX, "do": "status"}
    {"ticket_sha256": HEX, "do": "hold"}     let clients' requests wait, at most `HOLD_LIMIT_S`
    {"ticket_sha256": HEX, "do": "release"}  let them go on

The answer tells which layer is written to, `{"layer_id": ID, "size": BYTES}`, or what was wrong,
`{"error": TEXT}`; nothing has changed then. Each may be asked again. The hash proves that the
caller is not just another server of the same user, which can connect, but has no such ticket.

A connection is a conversation. What one holds is released when it ends, or when its time is over:
then it ends too, and without an answer to "release" nobody knows that all was done in time. So
several servers, all of them held, are switched at one moment, and none hangs by evsd's fault.
"""

from __future__ import annotations

import os
import time
from _operator import _compare_digest
from _socket import CMSG_SPACE, MSG_CMSG_CLOEXEC, SCM_RIGHTS, SOL_SOCKET, socket
from _struct import Struct
from _thread import stack_size, start_new_thread

from nbd_plugin import compactjson
from nbd_plugin.luks2 import sha256  # type: ignore[attr-defined]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Controlled(Protocol):
        """The server, as far as it can be told anything. Raises an exception with a text."""

        def switch(self, fd: int) -> None:
            """Write there from now on; the descriptor is closed afterwards."""

        def grow(self) -> None:
            """Serve the size that the header says."""

        def flush(self) -> None:
            """Wait for the disk."""

        def hold(self) -> None:
            """Let requests wait, until `release` on the same thread."""

        def release(self) -> None:
            """Let them go on."""

        def status(self) -> dict[str, object]:
            """Layer and size."""


MESSAGE_LIMIT = 4096
TIMEOUT_S = 5.0  # for a message that does not come
HOLD_LIMIT_S = 1.0
_STACK = 256 * 1024  # of a thread, instead of 8 MiB, which would be locked in memory
_INT = Struct("i")


def start(number: int, ticket: str, server: Controlled) -> None:
    """Listen on a thread of its own; each connection has another, for a flush may take minutes."""
    ticket_sha256 = sha256(ticket.encode()).hexdigest()
    listening = socket(fileno=number)
    os.set_inheritable(number, False)
    stack_size(_STACK)
    start_new_thread(_listen, (listening, ticket_sha256, server))


def _listen(listening: socket, ticket_sha256: str, server: Controlled) -> None:
    while True:
        try:
            number, _ = listening._accept()  # type: ignore[attr-defined]
        except OSError as error:  # ended, or out of descriptors
            os.write(2, f"nbdkit: nobody can control this server: {error.strerror}\n".encode())
            return
        connection = socket(fileno=number)
        connection.settimeout(TIMEOUT_S)
        # The first message is read here: who has no ticket gets no thread.
        message, fds = _receive(connection, ticket_sha256)
        if "do" in message:
            conversation = _Conversation(connection, ticket_sha256, server)
            start_new_thread(conversation.go_on, (message["do"], fds))
        else:
            _answer(connection, message)
            connection.close()


class _Conversation:
    """Until the other side has nothing more to say, or has held the server for too long."""

    def __init__(self, connection: socket, ticket_sha256: str, server: Controlled) -> None:
        self._connection, self._ticket_sha256 = connection, ticket_sha256
        self._server, self._held_until = server, 0.0

    def go_on(self, what: object, fds: list[int]) -> None:
        """With what is to be done first."""
        try:
            while what is not None:
                answer = self._done(what, fds)
                left = self._held_until - time.monotonic() if self._held_until else TIMEOUT_S
                if left <= 0:
                    break
                self._connection.settimeout(left)
                _answer(self._connection, answer)
                message, fds = _receive(self._connection, self._ticket_sha256)
                what = message.get("do")
        finally:
            self._release()
            self._connection.close()

    def _done(self, what: object, fds: list[int]) -> dict[str, object]:
        try:
            if what == "hold" and not self._held_until:
                self._server.hold()
                self._held_until = time.monotonic() + HOLD_LIMIT_S
            elif what == "release" and self._held_until:
                self._release()
            else:
                _do(what, fds, self._server)
            return self._server.status()
        except Exception as error:  # noqa: BLE001, whatever it is, the other side is told
            return _failure(error)
        finally:
            _close(fds)

    def _release(self) -> None:
        if self._held_until:
            self._held_until = 0.0
            self._server.release()


def _answer(connection: socket, message: dict[str, object]) -> None:
    try:  # noqa: SIM105, contextlib is another module in every server
        connection.send(compactjson.dumps(message).encode())
    except OSError:
        pass  # it has gone


def _receive(connection: socket, ticket_sha256: str) -> tuple[dict[str, object], list[int]]:
    """What is to be done, and with what; else what to answer."""
    fds: list[int] = []
    try:
        line, ancillary, _, _ = connection.recvmsg(
            MESSAGE_LIMIT, CMSG_SPACE(_INT.size), MSG_CMSG_CLOEXEC
        )
        fds = [fd for level, kind, data in ancillary for fd in _descriptors(level, kind, data)]
        message = compactjson.loads(line.decode())
        if not _compare_digest(message["ticket_sha256"], ticket_sha256):
            raise ValueError("that is not this server's ticket")
        return {"do": message["do"]}, fds
    except Exception as error:  # noqa: BLE001, whatever it is, the other side is told
        _close(fds)
        return _failure(error), []


def _failure(error: Exception) -> dict[str, object]:
    return {"error": str(error) or type(error).__name__}


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


def _descriptors(level: int, kind: int, data: bytes) -> list[int]:
    if (level, kind) != (SOL_SOCKET, SCM_RIGHTS):
        return []
    whole = len(data) // _INT.size * _INT.size
    return [fd for (fd,) in _INT.iter_unpack(data[:whole])]


def _do(what: object, fds: list[int], server: Controlled) -> None:
    if what == "switch" and len(fds) == 1:
        server.switch(fds[0])
    elif what == "grow":
        server.grow()
    elif what == "flush":
        server.flush()
    elif what != "status":
        raise ValueError("that is nothing which can be done")
