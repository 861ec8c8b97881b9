"""uvicorn, on the unix socket and, if asked, on TCP, there with TLS if there is a certificate."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from evsd.attach.server import may_be_server

GRACE_S = 10
HEAD_TIMEOUT_S = 30
HEAD_LIMIT = 64 * 1024
# More than clients keep an idle connection for, 5 s in httpx and in uvicorn itself: then they end
# it, and a request never meets its end on the way.
IDLE_TIMEOUT_S = 30


class PeerProtocol(HttpToolsProtocol):
    """Tells the application which Unix user is at the other end, and waits only so long.

    uvicorn 0.54 shows the application neither the socket nor its credentials, and has no limit to
    the time in which the head of a request must have come, nor to its length.
    """

    _head_timer: asyncio.TimerHandle | None = None
    _head_length = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Note who the peer is in the state of every request of this connection."""
        super().connection_made(transport)
        peer = transport.get_extra_info("socket")
        if peer is not None and peer.family == socket.AF_UNIX:
            credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            pid, uid, _ = struct.unpack("3i", credentials)
            is_server = uid == os.getuid() and may_be_server(pid)
            self.app_state = {**self.app_state, "peer_uid": uid, "peer_is_server": is_server}
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        """Take what came; a head that is too long ends the connection, llhttp knows no limit."""
        super().data_received(data)
        self._head_length = 0 if self._head_timer is None else self._head_length + len(data)
        if self._head_length > HEAD_LIMIT:
            self.transport.abort()

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._watch_head()

    def on_headers_complete(self) -> None:
        """It is there."""
        self._stop_watching()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._stop_watching()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """End the connection, when evsd stops, as soon as nothing more is to be said on it.

        A polite end of TLS waits for the client's own, which an idle client doesn't send.
        """
        super().shutdown()
        if self.transport.is_closing() and not self.transport.get_write_buffer_size():
            self.transport.abort()

    def _watch_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.abort)

    def _stop_watching(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class Server(uvicorn.Server):
    """A server that says when it listens."""

    def __init__(
        self, app: FastAPI, tls: ssl.SSLContext | None, on_ready: Callable[[], None]
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=PeerProtocol,
                loop="uvloop",
                lifespan="off",
                proxy_headers=False,  # or a caller could choose the source in its audit records
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=IDLE_TIMEOUT_S,
                timeout_graceful_shutdown=GRACE_S,
            )
        )
        self._tls, self._on_ready = tls, on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening; uvicorn itself would speak TLS on all sockets or on none."""
        servers = []
        for encrypted in (True, False):
            self.config.ssl = self._tls if encrypted else None
            await super().startup([s for s in sockets or [] if _is_tcp(s) == encrypted])
            servers += self.servers
        self.servers = servers
        self._on_ready()


def _is_tcp(listener: socket.socket) -> bool:
    return listener.family != socket.AF_UNIX


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
