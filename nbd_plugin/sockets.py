"""The sockets on which clients are served."""

from __future__ import annotations

import os
import select
from _socket import AF_UNIX, SO_PEERCRED, SO_SNDBUF, SOL_SOCKET, socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# Room for replies in the kernel, so that a thread that sends a large one need not wait for the
# client to read it. Linux's default for unix sockets is 208 KiB: with this, sequential reads of
# 256 KiB are 1.15 to 1.3 times as fast and of 1 MiB 1.35 to 1.45 times. Twice as much gains little.
SEND_BUFFER = 1024 * 1024
_CREDENTIALS_LENGTH = 12  # of struct ucred: pid, uid, gid


# Of /proc/self/fd, which can't be opened any more when there is a connection.
_descriptors = -1


def remember_descriptors() -> None:
    """To be called in the process that serves, before it is confined."""
    global _descriptors
    _descriptors = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def widen() -> None:
    """Give every unix socket of this process that room, as far as net.core.wmem_max allows.

    nbdkit 1.32 does not tell a plugin which socket a connection has. Over TCP the kernel finds the
    right size by itself.
    """
    for connection in _unix_sockets():
        try:
            connection.setsockopt(SOL_SOCKET, SO_SNDBUF, SEND_BUFFER)
        except OSError:
            continue  # closed meanwhile


def made_by(pid: int, others: set[int]) -> int:
    """The descriptor of a connection that a process has made and that is none of these, or -1."""
    for connection in _unix_sockets():
        number = connection.fileno()
        if number not in others and _peer(connection) == pid:
            return number
    return -1


def hung_up(number: int) -> bool:
    """Whether a connection is closed on its other side, whoever has that now."""
    poll = select.poll()
    poll.register(number, select.POLLRDHUP)
    return bool(poll.poll(0))


def _peer(connection: socket) -> int:
    try:
        credentials = connection.getsockopt(SOL_SOCKET, SO_PEERCRED, _CREDENTIALS_LENGTH)
    except OSError:
        return -1  # closed meanwhile
    return int.from_bytes(credentials[:4], "little", signed=True)


def _unix_sockets() -> Iterator[socket]:
    """Each one of this process, for a step of a loop."""
    for name in os.listdir(_descriptors):
        try:
            connection = socket(fileno=int(name))
        except OSError:
            continue  # no socket, or closed meanwhile
        try:
            if connection.family == AF_UNIX:
                yield connection
        finally:
            connection.detach()
