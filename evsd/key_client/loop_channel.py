"""The way of evsd's coroutines to evsd-keys: asked and answered on their own event loop.

An answer that comes by way of a thread (`client`) wakes that thread and then the loop, and each of
them waits for the interpreter's lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
from typing import Any

from evsd.errors import KeysUnavailable
from evsd.key_channel.call import Call
from evsd.key_channel.operation import Answer, Request
from evsd.key_client.messages import First, Reply, answer_in, encode_request
from evsd.resource import Resource


class LoopChannel(asyncio.Protocol, Resource):
    """One end of a socket pair with evsd-keys at the other; it belongs to the loop that asks first.

    It ends with that process.
    """

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._opening: asyncio.Task[Any] | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._ended = False
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._rest = b""

    def close(self) -> None:
        """End it, from whichever thread; the loop finds out by itself."""
        if self._opening is None:
            self._socket.close()
            return
        with contextlib.suppress(OSError):  # it has ended already
            self._socket.shutdown(socket.SHUT_RDWR)

    async def ask(
        self, call: Call, request: Request[Answer], first: First | None, within_s: float
    ) -> Answer:
        """The answer to one request; raises `KeysUnavailable` where none can come.

        And TimeoutError where none came in time.
        """
        transport = self._transport or await self._open()
        if self._ended:
            raise KeysUnavailable(reason="evsd-keys has died")
        number, loop = next(self._numbers), asyncio.get_running_loop()
        reply: asyncio.Future[Reply] = loop.create_future()
        self._waiting[number] = reply
        transport.write(encode_request(number, call, request, first))
        # Not `asyncio.timeout`: that takes ten times as long, for each request.
        timer = loop.call_later(within_s, _give_up, reply)
        try:
            return answer_in(await reply, request, first)
        finally:
            timer.cancel()

    async def _open(self) -> asyncio.WriteTransport:
        loop = asyncio.get_running_loop()
        if self._opening is None:
            opened = loop.create_connection(lambda: self, sock=self._socket)
            self._opening = loop.create_task(opened)
        # Others wait for it too, so one who is cancelled must not cancel it.
        try:
            self._transport, _ = await asyncio.shield(self._opening)
        except (OSError, ValueError) as error:  # it was closed before anybody had asked
            raise KeysUnavailable(reason="evsd-keys has died") from error
        return self._transport

    def data_received(self, data: bytes) -> None:
        """Hand out the answers that are whole."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            reply: Reply = json.loads(line)
            waiting = self._waiting.pop(reply["id"])
            if not waiting.done():  # who asked may have given up
                waiting.set_result(reply)

    def connection_lost(self, _error: Exception | None) -> None:
        """Tell all who wait."""
        self._ended = True
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(KeysUnavailable(reason="evsd-keys died during the request"))
        self._waiting.clear()


def _give_up(reply: asyncio.Future[Reply]) -> None:
    if not reply.done():
        reply.set_exception(TimeoutError())
