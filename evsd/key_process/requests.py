"""Carrying out what evsd asks for over its channels, and answering once it is on record.

A use that changes nothing waits for the audit log's next sync, all that came meanwhile together;
while the disk works others are carried out. A change of records syncs the log itself. Where that
fails the answers that waited are not given: no record, no key.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import structlog

from evsd.audit.log import AuditLog, Batch
from evsd.errors import InternalError, KeysUnavailable, PublishedError
from evsd.key_channel.call import UNKNOWN, Call
from evsd.key_channel.operation import Operation
from evsd.key_channel.shared import RecordRefusal
from evsd.key_process.use_records import OK, UsageLog

LINE_LIMIT = 1024 * 1024

# What of its parameters a refused request is recorded with; others may be secret, or long.
NAMES = {"key_id", "alias", "grant_id", "user_id", "access"}

Operations = dict[str, Operation]
Answer = dict[str, Any]

log = structlog.get_logger()


class Requests:
    """The requests of all channels, one at a time, and the answers that wait for their records."""

    def __init__(self, operations: Operations, audit: AuditLog, usage: UsageLog) -> None:
        self._operations, self._audit, self._usage = operations, audit, usage
        self._waiting: list[tuple[Batch, asyncio.StreamWriter, Answer]] = []
        self._syncing: asyncio.Task[None] | None = None

    async def serve(self, channel: socket.socket) -> None:
        """Carry out what one channel asks for and answer, until evsd closes it or dies."""
        reader, writer = await asyncio.open_connection(sock=channel, limit=LINE_LIMIT)
        with contextlib.suppress(ConnectionError):
            async for lines in _batches(reader):
                for line in lines:
                    self._take(json.loads(line), writer)
                self._hand_out()
                if self._syncing is None and not self._audit.settled:
                    self._syncing = asyncio.create_task(self._sync())
                await writer.drain()
        if self._syncing is not None:  # who has no more to ask may wait for answers yet
            await asyncio.wait([self._syncing])

    def _take(self, request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        before = self._audit.head
        answer = self._carry_out(request)
        if self._audit.head == before:
            writer.write(_encoded(answer))
        else:
            self._waiting.append((self._audit.newest, writer, answer))

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
        for batch, writer, answer in waiting:
            if batch.on_disk is None:
                self._waiting.append((batch, writer, answer))
            else:
                writer.write(_encoded(answer if batch.on_disk else _withheld(answer, batch)))

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


async def _batches(reader: asyncio.StreamReader) -> AsyncIterator[list[bytes]]:
    """All lines that have arrived, each time some have."""
    rest = b""
    while data := await reader.read(LINE_LIMIT):
        *lines, rest = (rest + data).split(b"\n")
        if lines:
            yield lines


def _withheld(answer: Answer, lost: Batch) -> Answer:
    error = lost.trouble or KeysUnavailable(reason="the audit log can't be written")
    return {"id": answer["id"], "error": error.as_wire()}


def _encoded(answer: Answer) -> bytes:
    return json.dumps(answer).encode() + b"\n"
