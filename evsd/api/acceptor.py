"""Accepting connections, only so many from each source: before TLS, before a byte is read.

asyncio's own servers accept whatever comes, and tell who it is when TLS is done.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from evsd.api.errors import gateway_body
from evsd.api.sources import RareLog, Sources, network
from evsd.errors import ConnectionLimitExceeded
from evsd.serving.server import may_be_server

BACKLOG = 2048
BATCH = 64  # accepted at a time: then it is the turn of who has been accepted
PAUSE_S = 0.1  # without descriptors

log = structlog.get_logger()


@dataclass(slots=True)
class Peer:
    """Who is at the other end, as far as the kernel knows."""

    source: str
    uid: int | None  # on the unix socket
    is_server: bool  # it is one of evsd's own that serve volumes

    @classmethod
    def of(cls, connection: socket.socket, address: object) -> Peer:
        """Of an accepted connection."""
        if connection.family != socket.AF_UNIX:
            host = address[0] if isinstance(address, tuple) else ""
            return cls(network(str(host)), None, is_server=False)
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        pid, uid, _ = struct.unpack("3i", credentials)
        is_server = uid == os.getuid() and may_be_server(pid)
        return cls(f"pid:{pid}" if is_server else f"uid:{uid}", uid, is_server)

    @property
    def has_reserve(self) -> bool:
        """Whether it is root or evsd's own user, who must always get through."""
        return self.uid in (0, os.getuid()) and not self.is_server


class Place:
    """A connection's, given back when it ends."""

    def __init__(self, peer: Peer, sources: Sources) -> None:
        self.peer, self._sources = peer, sources
        self._held = not peer.has_reserve

    def give_back(self) -> None:
        """Once is enough."""
        if self._held:
            self._held = False
            self._sources.gone(self.peer.source)


class Acceptor:
    """What asyncio calls a server: of one listener, until it is closed."""

    def __init__(
        self,
        listener: socket.socket,
        make_protocol: Callable[[Place], asyncio.Protocol],
        tls: ssl.SSLContext | None,
        sources: Sources,
        handshake_s: float,
    ) -> None:
        self._listener, self._make_protocol, self._tls = listener, make_protocol, tls
        self._sources, self._handshake_s = sources, handshake_s
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._short = RareLog("no descriptors for connections")
        self._closed = False
        listener.setblocking(False)
        listener.listen(BACKLOG)
        self._watch()

    def close(self) -> None:
        """Accept no more; what is being opened is given up."""
        self._closed = True
        self._loop.remove_reader(self._listener.fileno())
        for task in self._opening:
            task.cancel()

    async def wait_closed(self) -> None:
        """There is nothing to wait for."""

    def _watch(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            for _ in range(BATCH):
                self._take(*self._listener.accept())
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:  # no descriptors, or no memory; who waits goes on waiting
            self._short.tell(str(error), self._loop.time())
            self._loop.remove_reader(self._listener.fileno())
            self._loop.call_later(PAUSE_S, self._watch)

    def _take(self, connection: socket.socket, address: object) -> None:
        try:
            peer = Peer.of(connection, address)
        except OSError:  # it has ended already
            connection.close()
            return
        if peer.has_reserve or self._sources.admit(peer.source, self._loop.time()):
            task = self._loop.create_task(self._open(connection, Place(peer, self._sources)))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        else:
            self._refuse(connection, peer)

    async def _open(self, connection: socket.socket, place: Place) -> None:
        timeout = None if self._tls is None else self._handshake_s
        try:
            await self._loop.connect_accepted_socket(
                lambda: self._make_protocol(place),
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=timeout,
            )
        except OSError:  # it is gone, or speaks no TLS
            place.give_back()
            connection.close()
        except BaseException:
            place.give_back()
            raise

    def _refuse(self, connection: socket.socket, peer: Peer) -> None:
        with connection, contextlib.suppress(OSError):
            if self._tls is None:
                connection.setblocking(False)
                connection.send(_refusal(peer, self._sources))


def _refusal(peer: Peer, sources: Sources) -> bytes:
    error = ConnectionLimitExceeded(source=peer.source, limit=sources.limits.of_one)
    body = json.dumps(gateway_body(error, "")).encode()
    head = (
        f"HTTP/1.1 {error.status} Too Many Requests\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
