"""What a server costs: memory, the time to its first answer, and a hundred idle ones."""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.servers import OURS, serving
from tests.support import libnbd
from tests.support.memory import cpu_seconds, memory_of
from tests.support.volume import MIB

VOLUMES = 100
IDLE_S = 5


@dataclass(frozen=True)
class Cost:
    """Medians; bytes and seconds."""

    resident: float
    private_dirty: float
    first_reply: float


@dataclass(frozen=True)
class Idle:
    """Of many volumes together, each with a connected client that does nothing."""

    volumes: int
    resident: int
    proportional: int  # what is shared counted once
    cpu_share: float  # of one processor


def cost(name: str, directory: Path, rounds: int, before: Path | None = None) -> Cost:
    """Start a server, read and write a little, look."""
    place = f"cost-{name.replace(' ', '-')}"
    found = [_once(name, directory / f"{place}-{turn}", before) for turn in range(rounds)]
    return Cost(*(statistics.median(column) for column in zip(*found, strict=True)))


def _once(name: str, directory: Path, before: Path | None) -> tuple[float, float, float]:
    directory.mkdir()
    handle = libnbd.load().NBD()
    started = time.monotonic()
    with serving(name, directory, 64 * MIB, before) as running:
        while not _connect(handle, running.uri):
            handle = libnbd.load().NBD()
        handle.pread(4096, 0)
        first_reply = time.monotonic() - started
        for number in range(64):
            handle.pwrite(bytes(4096), number * 4096)
            handle.pread(4096, number * 4096)
        used = memory_of(running.pid)
        handle.shutdown()
    return used.resident, used.private_dirty, first_reply


def _connect(handle: object, uri: str) -> bool:
    try:
        handle.connect_uri(uri)  # type: ignore[attr-defined]
    except libnbd.load().Error:
        return False
    return True


def idle(directory: Path, volumes: int) -> Idle:
    """Attach volumes, wait, and see what they took meanwhile."""
    with ExitStack() as stack:
        pids = []
        for number in range(volumes):
            own = directory / f"idle-{volumes}-{number}"
            own.mkdir()
            running = stack.enter_context(serving(OURS, own, MIB))
            handle = libnbd.load().NBD()
            handle.connect_uri(running.uri)
            stack.callback(handle.shutdown)
            handle.pread(4096, 0)
            pids.append(running.pid)
        before = sum(map(cpu_seconds, pids))
        time.sleep(IDLE_S)
        cpu = (sum(map(cpu_seconds, pids)) - before) / IDLE_S
        used = [memory_of(pid) for pid in pids]
    return Idle(volumes, sum(m.resident for m in used), sum(m.proportional for m in used), cpu)
