"""Requests go past Python by way of the front; without it, `nbdkit python`, all is the same."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support import libnbd
from tests.support.request_spy import RequestSpy, threads_of
from tests.support.volume import FRONT, MIB, PYTHON, Volume, eventually

nbd = libnbd.load()
SECTOR = 4096
STRIPE = 64 * 1024
THREADS = 4
CONNECTIONS = 4


@pytest.fixture(params=[FRONT, PYTHON], ids=["front", "python"])
def either(request: pytest.FixtureRequest, volume: Volume) -> Volume:
    """A volume that nbdkit serves with the front, or without."""
    volume.front = request.param
    return volume


def extents(handle: Any, length: int) -> list[int]:
    """(length, type) from 0 on, in one list."""
    found: list[int] = []

    def keep(_context: str, _offset: int, entries: list[int], _error: Any) -> int:
        found.extend(entries)
        return 0

    handle.block_status(length, 0, keep)
    return found


def every_kind(handle: Any, start: int) -> list[Callable[[], object]]:
    """A request of each kind, on the second MiB from there on and in no other stripe."""
    part, whole = b"p" * 700, b"w" * 2 * STRIPE
    return [
        partial(handle.pwrite, whole, start),
        partial(handle.pwrite, part, start + 100),
        partial(handle.pread, 2 * STRIPE, start),
        partial(handle.pread, 512, start + 512),
        partial(handle.zero, STRIPE, start),
        partial(handle.zero, 512, start + STRIPE, nbd.CMD_FLAG_NO_HOLE),
        partial(handle.trim, SECTOR, start + STRIPE + SECTOR),
        partial(handle.cache, STRIPE, start),
        partial(handle.block_status, STRIPE, start, lambda *_: 0),
    ]


def test_every_kind_of_request_is_served(either: Volume) -> None:
    with either.served(), either.connected() as (handle,):
        handle.pwrite(b"x" * 3 * SECTOR, 0, nbd.CMD_FLAG_FUA)
        handle.pwrite(b"y" * 512, 512)
        handle.trim(SECTOR, SECTOR, nbd.CMD_FLAG_FUA)
        handle.zero(SECTOR, 2 * SECTOR, nbd.CMD_FLAG_FAST_ZERO)
        handle.flush()
        handle.cache(SECTOR, 0)
        expected = b"x" * 512 + b"y" * 512 + b"x" * 3072 + bytes(2 * SECTOR)
        assert handle.pread(3 * SECTOR, 0) == expected
        assert extents(handle, 3 * SECTOR) == [SECTOR, 0, 2 * SECTOR, 3]


def test_a_failed_request_is_told_the_client_and_the_log(either: Volume) -> None:
    with either.served(), either.connected() as (handle,):
        os.truncate(either.path, 2 * MIB)
        failing: dict[str, Callable[[], object]] = {
            "pread": partial(handle.pread, SECTOR, 4 * MIB),
            "pwrite": partial(handle.pwrite, b"x" * 100, 4 * MIB),
            "trim": partial(handle.trim, 100, 4 * MIB),
            "zero": partial(handle.zero, 100, 4 * MIB),
            "extents": partial(handle.block_status, MIB, 4 * MIB, lambda *_: 0),
        }
        for name, request in failing.items():
            before = len(either.log.read_text())
            with pytest.raises(nbd.Error) as failed:
                request()
            assert failed.value.errnum == errno.EIO
            [line] = either.log.read_text()[before:].splitlines()
            assert "error: " in line
            assert line.endswith("Input/output error")
            assert name in line


@pytest.mark.parametrize("front", [FRONT, PYTHON], ids=["front", "python"])
def test_a_zero_that_would_not_be_fast_is_refused_and_no_failure(thick: Volume, front: str) -> None:
    thick.front = front
    with thick.served(), thick.connected() as (handle,):
        with pytest.raises(nbd.Error) as refused:
            handle.zero(SECTOR, 0, nbd.CMD_FLAG_FAST_ZERO)
        assert refused.value.errnum == errno.ENOTSUP
    assert "zero" not in thick.log.read_text()


def test_the_front_keeps_requests_from_the_gil(either: Volume, tmp_path: Path) -> None:
    spy = RequestSpy(tmp_path)
    either.wrapper = spy.wrapper
    with either.served(), either.connected(CONNECTIONS) as handles:
        work = [every_kind(handle, number * MIB) for number, handle in enumerate(handles)]
        with spy.watching() as seen:
            run(work, times=20)
    requests = 20 * sum(map(len, work))
    assert seen.gil == 0 if either.front == FRONT else seen.gil >= requests


def run(work: list[list[Callable[[], object]]], times: int) -> None:
    """The requests of each connection, one after the other; connections side by side."""

    def repeat(requests: list[Callable[[], object]]) -> None:
        for _ in range(times):
            for request in requests:
                request()

    with ThreadPoolExecutor(len(work)) as pool:
        list(pool.map(repeat, work))


@contextmanager
def connection_on(volume: Volume, pid: int, processor: int) -> Iterator[Any]:
    """A connection whose threads run on this processor alone."""
    before = threads_of(pid)
    with volume.connection() as handle:
        eventually(lambda: len(threads_of(pid) - before) == 1 + THREADS)
        for thread in threads_of(pid) - before:
            os.sched_setaffinity(thread, {processor})
        yield handle


def test_no_lock_is_taken_by_requests_of_all_connections(volume: Volume, tmp_path: Path) -> None:
    # Each connection has a processor of its own, so a lock that was taken on two of them is one
    # that requests of one connection may have to wait for, because of another's.
    first, second, *_ = sorted(os.sched_getaffinity(0))
    spy = RequestSpy(tmp_path)
    volume.wrapper = spy.wrapper
    with volume.served() as process, ExitStack() as stack:
        handles = [stack.enter_context(connection_on(volume, process.pid, first))]
        handles += [stack.enter_context(connection_on(volume, process.pid, second))]
        with spy.watching() as seen:
            run([every_kind(handle, n * MIB) for n, handle in enumerate(handles)], times=20)
    both = 1 << first | 1 << second
    assert len(seen.processors_of_locks) > 2
    assert [lock for lock in seen.processors_of_locks if lock & both == both] == []
