"""Carrying out what evsd asks for over its channels, and answering once it is on record.

A use that changes nothing waits for the next sync of the audit log, with all that came meanwhile.
While the disk is quick that is done at once; where it is not, in a thread, and others are carried
out while the disk works. A change of records syncs the log itself. Where that fails the answers
that waited are not given: no record, no key.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable
from typing import Any, cast

import structlog

from evsd.audit.log import AuditLog, Batch
from evsd.errors import CallerUnknown, InternalError, KeysUnavailable, PublishedError
from evsd.json_text import dumps
from evsd.key_channel.call import UNKNOWN, Call
from evsd.key_channel.operation import Operation
from evsd.key_channel.shared import RecordRefusal
from evsd.key_process.use_records import OK, UsageLog

# What of its parameters a refused request is recorded with; others may be secret, or long.
NAMES = {"key_id", "alias", "grant_id", "user_id", "access"}

Operations = dict[str, Operation]
Answer = dict[str, Any]

log = structlog.get_logger()


class Requests:
    """The requests of all channels, one at a time, and the answers that wait for their records."""

    def __init__(self, operations: Operations, audit: AuditLog, usage: UsageLog) -> None:
        self._operations, self._audit, self._usage = operations, audit, usage
        self._waiting: list[tuple[Batch, _Channel, Answer]] = []
        self._syncing: asyncio.Task[None] | None = None

    async def serve(self, end: socket.socket) -> None:
        """Carry out what one channel asks for and answer, until evsd closes it or dies."""
        ended = asyncio.get_running_loop().create_future()
        await asyncio.get_running_loop().create_connection(
            lambda: _Channel(self._take_all, ended), sock=end
        )
        await ended
        if self._syncing is not None:  # who has no more to ask may wait for answers yet
            await asyncio.wait([self._syncing])

    def _take_all(self, lines: list[bytes], channel: _Channel) -> None:
        """All that has arrived at once: their records go to the disk together."""
        for line in lines:
            self._take(json.loads(line), channel)
        if self._syncing is None and not self._audit.settled:
            if self._audit.is_quick:
                with contextlib.suppress(KeysUnavailable):  # those who wait are told
                    self._audit.sync()
            else:
                self._syncing = asyncio.create_task(self._sync())
        self._hand_out()
        channel.send()

    def _take(self, request: dict[str, Any], channel: _Channel) -> None:
        before = self._audit.head
        answer = self._answer(request)
        if self._audit.head == before:
            channel.add(answer)
        else:
            self._waiting.append((self._audit.newest, channel, answer))

    def _answer(self, request: dict[str, Any]) -> Answer:
        """What becomes of a request, and before it of the one that goes with it (`First`)."""
        first = request.get("first")
        if first is None:
            return self._carry_out(request)
        found = self._carry_out({"id": request["id"], **first})
        if "error" in found:
            return found
        if found["result"] != first["expected"]:
            error = CallerUnknown(reason="the caller is another one than evsd took it for")
            return {"id": request["id"], "error": error.as_wire()}
        return {**self._carry_out(request), "first": True}

    async def _sync(self) -> None:
        try:
            while not self._audit.settled:
                with contextlib.suppress(KeysUnavailable, OSError):  # those who wait are told
                    # The log's to wait for too, so it isn't cancelled with this task.
                    await asyncio.shield(asyncio.wrap_future(self._audit.begin_sync()))
                with contextlib.suppress(KeysUnavailable):
                    self._audit.end_sync()
                self._hand_out()
        finally:
            self._syncing = None

    def _hand_out(self) -> None:
        """Give the answers whose records are on disk, and refuse those whose records are lost."""
        waiting, self._waiting = self._waiting, []
        told = set()
        for batch, channel, answer in waiting:
            if batch.on_disk is None:
                self._waiting.append((batch, channel, answer))
            else:
                channel.add(answer if batch.on_disk else _withheld(answer, batch))
                told.add(channel)
        for channel in told:
            channel.send()

    def _carry_out(self, request: dict[str, Any]) -> Answer:
        call, before = Call(**request["call"]), self._audit.head
        error: PublishedError
        try:
            result = self._operations[request["operation"]](call, request["params"])
            return {"id": request["id"], "result": result}
        except PublishedError as refusal:
            error = refusal
        except Exception:
            error = InternalError(request_id=call.request_id)
            log.exception(
                "operation failed", operation=request["operation"], request_id=call.request_id
            )
        # Refused before its use began, or failed after its record was written: no refusal is
        # without a record that says so. Of callers that are unknown yet evsd keeps count.
        unsaid = self._audit.head == before or self._usage.last_result == OK
        if unsaid and call.principal != UNKNOWN:
            error = self._recorded(call, request, error)
        return {"id": request["id"], "error": error.as_wire()}

    def _recorded(
        self, call: Call, request: dict[str, Any], error: PublishedError
    ) -> PublishedError:
        action, params = request["operation"], request["params"]
        named = {name: params[name] for name in NAMES & params.keys() if params[name]}
        refusal = RecordRefusal(action, named.pop("key_id", ""), error.code, named)
        try:
            self._usage.record_refusal(call, refusal)
        except KeysUnavailable as unavailable:
            return unavailable
        return error


class _Channel(asyncio.Protocol):
    """One end of a socket pair with evsd; `take` gets the lines that have arrived each time."""

    _transport: asyncio.Transport

    def __init__(
        self, take: Callable[[list[bytes], _Channel], None], ended: asyncio.Future[None]
    ) -> None:
        self._take, self._ended = take, ended
        self._rest = b""
        self._answers: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if lines:
            self._take(lines, self)

    def connection_lost(self, _error: Exception | None) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    def pause_writing(self) -> None:
        """It does not read its answers: it gets no more until it does."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def add(self, answer: Answer) -> None:
        """Have an answer sent with the next ones."""
        self._answers.append(dumps(answer).encode() + b"\n")

    def send(self) -> None:
        """Send all of them, in one go."""
        if self._answers:
            answers, self._answers = self._answers, []
            self._transport.write(b"".join(answers))


def _withheld(answer: Answer, lost: Batch) -> Answer:
    error = lost.trouble or KeysUnavailable(reason="the audit log can't be written")
    return {"id": answer["id"], "error": error.as_wire()}
