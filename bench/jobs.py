"""What is measured, and what each job has to reach against each peer."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.servers import LUKS_FILTER, PLAIN, run
from tests.support.volume import MIB

FIO_SIZE = 256 * MIB
COPY_SIZE = 2048 * MIB
COPY_REQUEST = 256 * 1024  # nbdcopy's


@dataclass(frozen=True)
class Done:
    """How fast it was, in the job's unit, and how many requests that were."""

    speed: float
    requests: float


@dataclass(frozen=True, eq=False)
class Job:
    """One measurement; more is better."""

    name: str
    unit: str
    measure: Callable[[str, float, Path], Done]  # of an URI, for seconds, in a directory
    required: dict[str, float]
    size: int = FIO_SIZE  # of the volume that it needs


def _fio(rw: str, block: int, depth: int, connections: int = 1) -> Job:
    def measure(uri: str, seconds: float, directory: Path) -> Done:
        output = run(
            "fio",
            "--name=bench",
            "--ioengine=nbd",
            f"--uri={uri}",
            f"--rw={rw}",
            "--rwmixread=70",
            f"--bs={block}",
            f"--iodepth={depth}",
            f"--numjobs={connections}",
            "--thread",  # one client: of several processes only the first may write
            f"--size={FIO_SIZE}",
            f"--runtime={round(seconds * 1000)}ms",  # it takes 0.2 for none at all
            "--time_based",
            "--group_reporting",
            "--norandommap",
            "--randrepeat=0",
            "--output-format=json",
            cwd=directory,
        )
        job = json.loads(output[output.index("{") :])["jobs"][0]
        sides = [job["read"], job["write"]]
        requests = sum(side["total_ios"] for side in sides)
        if random:
            return Done(sum(side["iops"] for side in sides), requests)
        return Done(sum(side["bw_bytes"] for side in sides) / 1e6, requests)

    random = rw.startswith("rand")
    kind = {"randrw": "random 70/30"}.get(rw, f"{'random' if random else 'sequential'} {rw[-5:]}")
    kind = kind.replace("mread", "read").replace("dread", "read")
    size = f"{block // 1024}k" if block >= 1024 else str(block)
    name = f"{size} {kind} QD{depth}" + (f", {connections} connections" * (connections > 1))
    required = _required(rw, block, depth, connections)
    return Job(name, "IOPS" if random else "MB/s", measure, required)


def _required(rw: str, block: int, depth: int, connections: int = 1) -> dict[str, float]:
    if block < 4096:
        return {PLAIN: 0.85, LUKS_FILTER: 0.8}
    if depth < 8:
        return {LUKS_FILTER: 1.0}
    if block > 4096:
        return {PLAIN: {"read": 0.95}.get(rw, 0.9), LUKS_FILTER: {"read": 1.5}.get(rw, 4.0)}
    reads = rw == "randread"
    if connections > 1:
        return {PLAIN: 0.85 if reads else 0.95, LUKS_FILTER: 1.4 if reads else 1.6}
    return {PLAIN: 0.95, LUKS_FILTER: 1.2}


def _copy(name: str, rw: str, *command: str) -> Job:
    def measure(uri: str, _: float, directory: Path) -> Done:
        places = {"URI": uri, "IMAGE": str(directory / "image")}
        started = time.monotonic()
        run("nbdcopy", *(places.get(word, word) for word in command))
        return Done(COPY_SIZE / 1e6 / (time.monotonic() - started), COPY_SIZE / COPY_REQUEST)

    return Job(name, "MB/s", measure, _required(rw, MIB, 8), COPY_SIZE)


JOBS = (
    _fio("randread", 4096, 1),
    _fio("randwrite", 4096, 1),
    _fio("randread", 4096, 16),
    _fio("randwrite", 4096, 16),
    _fio("randrw", 4096, 16),
    _fio("randwrite", 512, 16),
    *(_fio(rw, kib * 1024, 8) for kib in (64, 256, 1024) for rw in ("read", "write")),
    *(_fio(rw, 4096, 16, 4) for rw in ("randread", "randwrite", "randrw")),
    *(_fio(rw, 262144, 8, 4) for rw in ("read", "write")),
    _copy("nbdcopy of 2 GiB in", "write", "IMAGE", "URI"),
    _copy("nbdcopy of 2 GiB out", "read", "URI", "null:"),
)
