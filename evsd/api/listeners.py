"""The sockets that requests come by, before anybody listens on them."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any


def listen_unix(path: Path) -> socket.socket:
    """A listening unix socket that every user may connect to: the kernel says who they are."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    # uvicorn's own --uds does the same but leaves the mode to a race; bind under a closed umask.
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    path.chmod(0o666)
    return listener


def listen_tcp(address: str) -> socket.socket:
    """A listening TCP socket on HOST:PORT; raises OSError, ValueError for a bad address."""
    host, _, port = address.rpartition(":")
    info: Any = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
    # asyncio sets TCP_NODELAY only where the protocol is spelled out; without it every answer
    # waits 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(info[0], socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(info[4])
    return listener
