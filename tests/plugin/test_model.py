"""Sequences of requests against a model: an array of bytes.

Each sequence is a list of bursts; the requests of one burst touch different bytes and are under way
at the same time, on several connections, so that neighbours meet inside sectors.
"""

from __future__ import annotations

import errno
import itertools
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support import libnbd
from tests.support.examples import REPEATABLE
from tests.support.volume import FRONT, PYTHON, Volume, new_volume

nbd = libnbd.load()
SECTOR = 4096
UNIT = 512
SIZE = 192 * 1024  # three stripes: every border of sector and stripe is near
CONNECTIONS = 3
SEQUENCES = int(os.environ.get("EVSD_SEQUENCES", "600"))  # on each of four volumes

FUA, NO_HOLE, FAST = nbd.CMD_FLAG_FUA, nbd.CMD_FLAG_NO_HOLE, nbd.CMD_FLAG_FAST_ZERO
FLAGS = {
    "read": [0],
    "write": [0, FUA],
    "zero": [0, FUA, NO_HOLE, FAST, NO_HOLE | FAST, NO_HOLE | FUA],
    "trim": [0, FUA],
    "extents": [0, nbd.CMD_FLAG_REQ_ONE],
    "cache": [0],
    "flush": [0],
}


@dataclass(frozen=True)
class Request:
    """What is asked of `length` bytes at `offset`."""

    kind: str
    flags: int
    offset: int
    length: int

    @property
    def bytes(self) -> slice:
        """Those it covers."""
        return slice(self.offset, self.offset + self.length)


@st.composite
def requests(draw: st.DrawFn, start: int, end: int) -> Request:
    """One request inside a range of bytes, as often of whole units as of any bytes."""
    unit = draw(st.sampled_from([UNIT, SECTOR, 1, 1]))
    first, last = -(-start // unit), end // unit
    if first >= last:
        unit, first, last = 1, start, end
    at = draw(st.integers(first, last - 1))
    longest = min(last - at, draw(st.sampled_from([SECTOR // unit + 1, 3 * SECTOR // unit, SIZE])))
    kind = draw(st.sampled_from(sorted(FLAGS)))
    flags = draw(st.sampled_from(FLAGS[kind]))
    return Request(kind, flags, at * unit, draw(st.integers(1, longest)) * unit)


@st.composite
def bursts(draw: st.DrawFn) -> list[Request]:
    """Requests that touch different bytes: the volume cut at some places, at most one in each."""
    places = st.integers(0, SIZE // UNIT).map(lambda unit: unit * UNIT) | st.integers(0, SIZE)
    edges = [0, *draw(st.lists(places, max_size=5, unique=True).map(sorted)), SIZE]
    ranges = [(start, end) for start, end in itertools.pairwise(edges) if start < end]
    return [draw(requests(*area)) for area in ranges]


@dataclass
class Running:
    """A request under way; `buffer` is what is read, `found` the extents."""

    request: Request
    handle: Any
    cookie: int = 0
    buffer: Any = None
    found: list[int] = field(default_factory=list)

    def start(self, data: bytes) -> None:
        """Send it."""
        handle, area = self.handle, self.request
        self.buffer = nbd.Buffer.from_bytearray(bytearray(data))
        if area.kind == "read":
            self.cookie = handle.aio_pread(self.buffer, area.offset)
        elif area.kind == "write":
            self.cookie = handle.aio_pwrite(self.buffer, area.offset, flags=area.flags)
        elif area.kind == "extents":
            self.cookie = handle.aio_block_status(
                area.length, area.offset, self._extents, flags=area.flags
            )
        elif area.kind == "flush":
            self.cookie = handle.aio_flush()
        else:
            call = getattr(handle, f"aio_{area.kind}")
            self.cookie = call(area.length, area.offset, flags=area.flags)

    def _extents(self, _context: str, _offset: int, found: list[int], _error: object) -> int:
        self.found.extend(found)
        return 0

    def finish(self) -> int:
        """Wait for it; 0 or an errno."""
        try:
            while not self.handle.aio_command_completed(self.cookie):
                self.handle.poll(10000)
        except nbd.Error as error:
            if error.errnum is None:
                raise
            return int(error.errnum)
        return 0


class Model:
    """What the volume should hold."""

    def __init__(self, thin: bool) -> None:
        self.thin = thin
        self.content = bytearray(SIZE)

    def check(self, running: Running, error: int, data: bytes) -> None:
        """Compare an answer, and do to the model what was done to the volume."""
        request = running.request
        if request.kind == "trim" and not self.thin:
            assert error == errno.EINVAL  # it is not offered
        elif error:
            assert error == errno.ENOTSUP
            assert request.flags & FAST, request
        elif request.kind == "write":
            self.content[request.bytes] = data
        elif request.kind in ("zero", "trim"):
            self.content[request.bytes] = bytes(request.length)
        elif request.kind == "read":
            assert running.buffer.to_bytearray() == self.content[request.bytes]

    def check_extents(self, running: Running) -> None:
        """What is told to be zeros is; only once nothing else is under way."""
        at = running.request.offset
        lengths = running.found[::2]
        assert 0 < sum(lengths) <= running.request.length
        for length, kind in zip(lengths, running.found[1::2], strict=True):
            assert length > 0
            if kind & nbd.STATE_ZERO:
                assert not any(self.content[at : at + length])
            at += length


@pytest.fixture(
    scope="module",
    params=[
        (True, "/dev/shm", FRONT),
        (False, "/dev/shm", PYTHON),
        (True, None, PYTHON),
        (False, None, FRONT),
    ],
    ids=["thin on tmpfs", "thick on tmpfs by Python", "thin by Python", "thick"],
)
def served(request: pytest.FixtureRequest) -> Iterator[tuple[Volume, list[Any]]]:
    """One server for all sequences: a volume and its connections."""
    thin, parent, front = request.param
    with (
        tempfile.TemporaryDirectory(dir=parent) as directory,
        new_volume(Path(directory), size=SIZE, thin=thin) as made,
        replace(made, front=front).served(),
        made.connected(CONNECTIONS) as handles,
    ):
        yield made, handles


@settings(REPEATABLE, max_examples=SEQUENCES, derandomize="EVSD_SEQUENCES" not in os.environ)
@example([[Request("write", 0, 100, 50)], [Request("trim", 0, 0, SECTOR)]], 1)
@example(
    [
        [Request("zero", 0, 0, SIZE)],
        [Request("write", 0, 0, UNIT), Request("write", 0, UNIT, UNIT)],
        [Request("zero", NO_HOLE, 0, UNIT), Request("write", FUA, UNIT, 3 * SECTOR)],
    ],
    7,
)
@example(
    [
        [Request("write", 0, SECTOR - 1, 2), Request("write", 0, SECTOR + 1, 1)],
        [Request("zero", 0, SECTOR, 1), Request("write", FUA, SECTOR + 1, SECTOR)],
        [Request("extents", 0, SECTOR - 1, 2)],
    ],
    3,
)
@given(sequence=st.lists(bursts(), max_size=6), seed=st.integers(0, 255))
def test_a_volume_behaves_like_an_array_of_bytes(
    served: tuple[Volume, list[Any]], sequence: list[list[Request]], seed: int
) -> None:
    volume, handles = served
    model = Model(volume.header.thin)
    handles[0].zero(SIZE, 0)
    for burst in sequence:
        under_way = []
        for number, request in enumerate(burst):
            seed = (seed + 37) % 256
            data = bytes([seed or 1]) * (request.length if request.kind != "flush" else 1)
            running = Running(request, handles[number % CONNECTIONS])
            running.start(data)
            under_way.append((running, data))
        for running, data in under_way:
            model.check(running, running.finish(), data)
        quiet = len(burst) == 1
        for running, _ in under_way:
            if quiet and running.request.kind == "extents":
                model.check_extents(running)
    assert handles[-1].pread(SIZE, 0) == model.content
