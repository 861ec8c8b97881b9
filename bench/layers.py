"""What layers cost: chains of 1 to 8 of them side by side, and qemu's qcow2 with LUKS inside.

Every layer above the lowest has a tenth of the sectors, scattered. The servers take turns, as in
`datapath`; what counts are ratios to the volume without layers. A snapshot of a volume that is
attached and written to is timed last.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.datapath import RESULTS, filesystem, processor
from bench.jobs import FIO_SIZE, JOBS
from bench.servers import BEFORE, Running, run, serving
from tests.support import libnbd
from tests.support.control import Controlled, controlled
from tests.support.memory import cpu_seconds
from tests.support.volume import MIB, new_volume

SECTOR = 4096
PART = FIO_SIZE // SECTOR // 10
DEPTHS = (1, 2, 4, 8)
QEMU_DEPTH = 4
QEMU = f"qcow2 at {QEMU_DEPTH}"
# Writes last: what they write is in the top layer from then on.
WANTED = ("4k random read QD16", "256k sequential read QD8", "4k random write QD16")
SNAPSHOT_SIZE = 1024 * 1024 * MIB
SNAPSHOTS = 5


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=0.5, help="of every fio run")
    parser.add_argument("--directory", default="/dev/shm", help="4 GiB are used")  # noqa: S108
    parser.add_argument("--before", type=Path, help="a checkout that is built, to compare with")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as temporary:
        directory = Path(temporary)
        found = measure(directory, options.before, options.rounds, options.seconds)
        text = report(found, options.rounds, options.seconds, filesystem(directory))
        text += snapshots(directory)
    print(text)
    kept = RESULTS / f"layers-{filesystem(Path(options.directory))}.md"
    kept.write_text(text)


Figures = dict[str, dict[str, list[tuple[float, float]]]]


def measure(directory: Path, before: Path | None, rounds: int, seconds: float) -> Figures:
    """Speed and processor microseconds a request, by job and server."""
    by_name = {job.name: job for job in JOBS}
    jobs = [by_name[name] for name in WANTED]
    with ExitStack() as stack:
        running = {
            f"depth {depth}": stack.enter_context(chain(place(directory, f"{depth}"), depth))
            for depth in DEPTHS
        }
        running[QEMU] = stack.enter_context(qcow2(place(directory, "qemu")))
        if before is not None:
            old = serving(BEFORE, place(directory, "before"), FIO_SIZE, before)
            running[BEFORE] = stack.enter_context(old)
            fill(running[BEFORE].uri, whole=True)
        found: Figures = {job.name: {name: [] for name in running} for job in jobs}
        names = list(running)
        for job in jobs:
            for turn in range(rounds):
                for name in names[turn % len(names) :] + names[: turn % len(names)]:
                    used = cpu_seconds(running[name].pid)
                    done = job.measure(running[name].uri, seconds, directory)
                    used = (cpu_seconds(running[name].pid) - used) / done.requests * 1e6
                    found[job.name][name].append((done.speed, used))
    return found


def place(directory: Path, name: str) -> Path:
    """A directory of a server's own."""
    own = directory / name
    own.mkdir()
    return own


@contextmanager
def chain(directory: Path, depth: int) -> Iterator[Running]:
    """Our server over so many layers, started anew after they were made."""
    with new_volume(directory, size=FIO_SIZE) as volume:
        with controlled(volume) as made, made.volume.served():
            fill(made.volume.uri, whole=True)
            for _ in range(depth - 1):
                made.take(str(uuid.uuid4()))
                fill(made.volume.uri)
        with controlled(made.volume) as again, again.volume.served() as process:
            yield Running(again.volume.uri, process.pid)


def fill(uri: str, *, whole: bool = False) -> None:
    """Write every sector, or a tenth of them."""
    handle = libnbd.load().NBD()
    handle.connect_uri(uri)
    if whole:
        for at in range(0, FIO_SIZE, MIB):
            handle.pwrite(os.urandom(MIB), at)
    else:
        for sector in random.sample(range(FIO_SIZE // SECTOR), PART):
            handle.pwrite(os.urandom(SECTOR), sector * SECTOR)
    handle.shutdown()


@contextmanager
def qcow2(directory: Path) -> Iterator[Running]:
    """qemu-nbd over as many files, each with LUKS inside."""
    files = [directory / f"{number}.qcow2" for number in range(QEMU_DEPTH)]
    for number, file in enumerate(files):
        secret = ["--object", "secret,id=s,data=x"]
        encrypted = "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10"
        create = ["qemu-img", "create", "-q", "-f", "qcow2", *secret, "-o", encrypted]
        if number:  # its key is given when it is opened
            create += ["-u", "-b", files[number - 1].name, "-F", "qcow2"]
        run(*create, str(file), str(FIO_SIZE))
        with qemu_nbd(files[: number + 1], directory / "nbd.sock") as running:
            fill(running.uri, whole=not number)
    with qemu_nbd(files, directory / "nbd.sock") as running:
        yield running


@contextmanager
def qemu_nbd(files: list[Path], socket: Path) -> Iterator[Running]:
    """The last of the files is the top."""
    options, prefix = [], ""
    for file in reversed(files):
        options += [
            f"{prefix}driver=qcow2,{prefix}encrypt.format=luks,{prefix}encrypt.key-secret=s",
            f"{prefix}file.filename={file}",
        ]
        prefix += "backing."
    socket.unlink(missing_ok=True)
    command = ["qemu-nbd", "--object", "secret,id=s,data=x", "--persistent", "--shared=8"]
    command += [f"--socket={socket}", "--image-opts", ",".join(options)]
    with subprocess.Popen(command) as process:
        try:
            while not socket.exists():
                if process.poll() is not None:
                    raise SystemExit("qemu-nbd did not start")
                time.sleep(0.01)
            yield Running(f"nbd+unix:///?socket={socket}", process.pid)
        finally:
            process.terminate()


def report(found: Figures, rounds: int, seconds: float, kind: str) -> str:
    """A table: the speed, and its ratio to one layer; processor microseconds a request."""
    names = list(next(iter(found.values())))
    lines = [
        f"Medians of {rounds} rounds of {seconds:g} s; fio's nbd engine, unix socket, {kind},",
        f"{os.cpu_count()} processors ({processor()}). In brackets: divided by depth 1; then µs of",
        "processor a request.",
        "",
        f"| | {' | '.join(names)} |",
        f"|---|{'--:|' * len(names)}",
    ]
    for job, servers in found.items():
        speeds = {n: statistics.median(s for s, _ in each) for n, each in servers.items()}
        used = {n: statistics.median(u for _, u in each) for n, each in servers.items()}
        base = speeds["depth 1"]
        cells = [f"{speeds[n]:,.0f} ({speeds[n] / base:.2f}), {used[n]:.1f}" for n in names]
        lines.append(f"| {job} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def snapshots(directory: Path) -> str:
    """How long one takes of a volume of 1 TiB that is written to, and the client's longest wait."""
    with (
        new_volume(place(directory, "snapshots"), size=SNAPSHOT_SIZE) as volume,
        controlled(volume) as served,
        served.volume.served(),
    ):
        times, waits = _timed(served)
    longest = max(waits) * 1e3
    return (
        f"\nA snapshot of an attached volume of 1 TiB under scattered 4k writes: "
        f"{statistics.median(times) * 1e3:.1f} ms, at most {max(times) * 1e3:.1f} ms; the longest "
        f"wait of a write in all that time {longest:.1f} ms, the median "
        f"{statistics.median(waits) * 1e3:.2f} ms.\n"
    )


def _timed(served: Controlled) -> tuple[list[float], list[float]]:
    done, waits, times = threading.Event(), [], []

    def write() -> None:
        handle = libnbd.load().NBD()
        handle.connect_uri(served.volume.uri)
        while not done.is_set():
            started = time.monotonic()
            sector = random.randrange(SNAPSHOT_SIZE // SECTOR)  # noqa: S311
            handle.pwrite(bytes([7]) * SECTOR, sector * SECTOR)
            waits.append(time.monotonic() - started)
        handle.shutdown()

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(SNAPSHOTS):
        time.sleep(0.3)
        started = time.monotonic()
        served.take(str(uuid.uuid4()))
        times.append(time.monotonic() - started)
    done.set()
    writer.join()
    return times, waits


if __name__ == "__main__":
    main()
