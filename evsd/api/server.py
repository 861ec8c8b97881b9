"""uvicorn, on the unix socket and, if asked, on TCP."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

GRACE_S = 10


class PeerProtocol(H11Protocol):
    """Tells the application which Unix user is at the other end.

    uvicorn 0.54 shows the application neither the socket nor its credentials.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Note the peer's uid in the state of every request of this connection."""
        super().connection_made(transport)
        peer = transport.get_extra_info("socket")
        if peer is not None and peer.family == socket.AF_UNIX:
            credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            self.app_state = {**self.app_state, "peer_uid": struct.unpack("3i", credentials)[1]}


class Server(uvicorn.Server):
    """A server that says when it listens."""

    def __init__(self, app: FastAPI, on_ready: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=PeerProtocol,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=GRACE_S,
            )
        )
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening."""
        await super().startup(sockets)
        self._on_ready()


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
    listener = socket.socket(info[0], socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(info[4])
    return listener
