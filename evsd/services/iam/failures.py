"""Failed authentications on record, at a bounded cost.

Who fails to say who it is costs it nothing, so a record of each failure would let a stranger fill
the disk, and then no key could be used. The first failure of a source is recorded at once, those
that follow are counted, and each minute that had some ends with one record of how many. Of more
than `MOST_SOURCES` sources in a minute the rest is one source: with two records of 800 bytes to
3 KB from each, that is 126 KB a minute at the worst.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from evsd.api.sources import network
from evsd.errors import PublishedError
from evsd.key_channel.call import UNKNOWN, Call
from evsd.key_channel.shared import RecordRefusal
from evsd.key_client.process import KeyProcess
from evsd.resource import Resource

PERIOD_S = 60
MOST_SOURCES = 20
OTHERS = "other addresses"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Failure:
    """What a record says of one failure."""

    source: str  # an address, or uid:N
    request_id: str
    request: str
    access: str
    error: PublishedError


@dataclass(slots=True)
class _Unrecorded:
    """The failures of one source since its last record."""

    count: int = 0
    since: str = ""
    last: Failure | None = None
    asking: int = 0  # records under way, which may fail and leave their failures here


class FailedAuthentications(Resource):
    """Those of all sources; `note` on one event loop, `close` when that has ended."""

    def __init__(self, keys: KeyProcess, period_s: float = PERIOD_S) -> None:
        self._keys, self._period_s = keys, period_s
        self._sources: dict[str, _Unrecorded] = {}
        self._sweeping: asyncio.Task[None] | None = None

    async def note(self, failure: Failure) -> None:
        """Record it, or count it."""
        source = network(failure.source)
        if source not in self._sources and len(self._sources) >= MOST_SOURCES:
            source = OTHERS
        first = source not in self._sources
        unrecorded = self._sources.setdefault(source, _Unrecorded())
        unrecorded.count += 1
        unrecorded.since = unrecorded.since or datetime.now(UTC).isoformat(timespec="seconds")
        unrecorded.last = failure
        if self._sweeping is None:
            self._sweeping = asyncio.create_task(self._sweep())
        if first:
            await self._record(source)

    async def _sweep(self) -> None:
        """Record what has come together, once in a period, until a period had nothing."""
        while self._sources:
            await asyncio.sleep(self._period_s)
            for source, unrecorded in list(self._sources.items()):
                if unrecorded.count:
                    await self._record(source)
                elif not unrecorded.asking:
                    del self._sources[source]
        self._sweeping = None

    async def _record(self, source: str) -> None:
        unrecorded = self._sources[source]
        request = _request(source, unrecorded)
        counted, unrecorded.count = unrecorded.count, 0
        since, unrecorded.since = unrecorded.since, ""
        unrecorded.asking += 1
        try:
            await self._keys.ask(*request)
        except PublishedError as error:  # it refused nobody a key: the caller gets its 401
            log.error("failed authentications not recorded yet", reason=error.message)
            unrecorded.count += counted
            unrecorded.since = since
        finally:
            unrecorded.asking -= 1

    def close(self) -> None:
        """Record what was counted."""
        for source, unrecorded in self._sources.items():
            if unrecorded.count:
                try:
                    self._keys.call(*_request(source, unrecorded))
                except PublishedError as error:
                    log.error("failed authentications not recorded", reason=error.message)


def _request(source: str, unrecorded: _Unrecorded) -> tuple[Call, RecordRefusal]:
    """What evsd-keys is asked to record."""
    last = unrecorded.last
    assert last is not None  # noqa: S101 - there is one with the first that is counted
    context = {
        "access": last.access,
        "request": last.request,
        "reason": last.error.message[:200],
        "failures": str(unrecorded.count),
        "since": unrecorded.since,
    }
    call = Call(UNKNOWN, "", "", source, last.request_id)
    return call, RecordRefusal("authenticate", "", last.error.code, context)
