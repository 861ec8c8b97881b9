"""The sockets on which clients are served."""

from __future__ import annotations

import os
from _socket import AF_UNIX, SO_SNDBUF, SOL_SOCKET, socket

# Room for replies in the kernel, so that a thread that sends a large one need not wait for the
# client to read it. Linux's default for unix sockets is 208 KiB: with this, sequential reads of
# 256 KiB are 1.15 to 1.3 times as fast and of 1 MiB 1.35 to 1.45 times. Twice as much gains little.
SEND_BUFFER = 1024 * 1024


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
    for name in os.listdir(_descriptors):
        try:
            connection = socket(fileno=int(name))
        except OSError:
            continue  # no socket, or closed meanwhile
        try:
            if connection.family == AF_UNIX:
                connection.setsockopt(SOL_SOCKET, SO_SNDBUF, SEND_BUFFER)
        except OSError:
            pass
        finally:
            connection.detach()
