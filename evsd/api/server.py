"""uvicorn, on the unix socket and, if asked, on TCP, there with TLS if there is a certificate."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from evsd.api.acceptor import Acceptor, Place
from evsd.api.sources import Limits, Sources

GRACE_S = 10
HEAD_TIMEOUT_S = 30
HEAD_LIMIT = 64 * 1024
READ_TIMEOUT_S = 60  # for a client to go on reading its answer
# More than clients keep an idle connection for, 5 s in httpx and in uvicorn itself: then they end
# it, and a request never meets its end on the way.
IDLE_TIMEOUT_S = 30


class PeerProtocol(HttpToolsProtocol):
    """Tells the application which Unix user is at the other end, and waits only so long.

    uvicorn 0.54 shows the application neither the socket nor its credentials, and has no limit to
    the time in which the head of a request must have come, nor to its length.
    """

    _head_timer: asyncio.TimerHandle | None = None
    _reader_timer: asyncio.TimerHandle | None = None
    _head_length = 0

    def __init__(self, *args: Any, place: Place, sources: Sources, **options: Any) -> None:
        super().__init__(*args, **options)
        self._place, self._sources = place, sources

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Note who the peer is in the state of every request of this connection."""
        super().connection_made(transport)
        peer = self._place.peer
        if peer.uid is not None:
            known = {"peer_uid": peer.uid, "peer_is_server": peer.is_server}
            self.app_state = {**self.app_state, **known}
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
        """Forget the timers, and make room for another."""
        self._stop_watching()
        self._stop_waiting_for_reader()
        self._place.give_back()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read its answer: not for ever."""
        super().pause_writing()
        self._reader_timer = self.loop.call_later(READ_TIMEOUT_S, self._give_up)

    def resume_writing(self) -> None:
        """It has read."""
        self._stop_waiting_for_reader()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP; uvicorn would log each, as often as a stranger likes."""
        self._sources.garbled.tell(self._place.peer.source, self.loop.time())
        super().send_400_response(msg)

    def shutdown(self) -> None:
        """End the connection, when evsd stops, as soon as nothing more is to be said on it.

        A polite end of TLS waits for the client's own, which an idle client doesn't send.
        """
        super().shutdown()
        if self.transport.is_closing() and not self.transport.get_write_buffer_size():
            self.transport.abort()

    def _watch_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._give_up)

    def _give_up(self) -> None:
        self._sources.late.tell(self._place.peer.source, self.loop.time())
        self.transport.abort()

    def _stop_waiting_for_reader(self) -> None:
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None

    def _stop_watching(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class Server(uvicorn.Server):
    """A server that says when it listens."""

    def __init__(
        self, app: ASGIApp, tls: ssl.SSLContext | None, on_ready: Callable[[], None]
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
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening; uvicorn itself would speak TLS on all sockets or on none."""
        await super().startup([])
        sources = Sources(Limits.of_this_process())

        def protocol(place: Place) -> PeerProtocol:
            return PeerProtocol(
                self.config, self.server_state, self.lifespan.state, place=place, sources=sources
            )

        for listener in sockets or []:
            tls = None if listener.family == socket.AF_UNIX else self._tls
            acceptor: Any = Acceptor(listener, protocol, tls, sources, HEAD_TIMEOUT_S)
            self.servers.append(acceptor)
        self._on_ready()
