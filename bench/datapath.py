"""Compare the data path with its peers: over a unix socket, everything in one directory.

The servers take turns within every round, so that a busy minute of the machine hits all of them;
what counts are the medians over the rounds and their ratios. What is measured is kept by job, so
that the whole may be measured in pieces.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench import report
from bench.jobs import JOBS, Job
from bench.report import Sample
from bench.resources import VOLUMES, cost, idle
from bench.servers import BEFORE, OURS, PEERS, Running, run, serving
from tests.support.memory import cpu_seconds
from tests.support.volume import MIB

COSTS = "memory and start"
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Run the comparison, print the tables, keep them and the figures under bench/results/."""
    options = arguments()
    jobs = [job for job in JOBS if any(part in job.name for part in options.only)]
    names = (OURS, *[BEFORE] * bool(options.before), *options.peers)
    with ExitStack() as stack:
        # A server's working directory is another.
        temporary = tempfile.TemporaryDirectory(dir=Path(options.directory).resolve())
        directory = Path(stack.enter_context(temporary))
        if options.busy:
            stack.enter_context(busy())
        kept = RESULTS / f"datapath-{filesystem(directory)}{'-busy' * options.busy}.json"
        found = json.loads(kept.read_text()) if kept.exists() else {}
        if jobs:
            measured = Comparison(names, options.before, directory)
            found.setdefault("jobs", {}).update(
                report.medians(measured.run(jobs, options.rounds, options.seconds))
            )
        if any(part in COSTS for part in options.only):
            found["costs"] = report.costs(
                {name: cost(name, directory, options.rounds, options.before) for name in names},
                [idle(directory, count) for count in (1, 10, VOLUMES)],
            )
    found["head"] = head(kept, options.rounds)
    text = report.text(found)
    print(text)
    RESULTS.mkdir(exist_ok=True)
    kept.with_suffix(".md").write_text(text)
    kept.write_text(json.dumps(found, indent=1) + "\n")


def head(kept: Path, rounds: int) -> str:
    """What was measured, and where."""
    where = kept.stem.removeprefix("datapath-").replace("-busy", ", each processor kept busy")
    return (
        f"Medians of {rounds} rounds; fio's nbd engine and nbdcopy, unix socket;\n"
        f"on {where}, {os.cpu_count()} processors ({processor()}), kernel {platform.release()}.\n"
        "In brackets: evsd divided by that server.\n"
    )


@contextmanager
def busy() -> Iterator[None]:
    """As many programs that only count as there are processors, until the block ends."""
    counting = [sys.executable, "-c", "while True: pass"]
    programs = [subprocess.Popen(counting) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=0.5, help="of every fio run")
    parser.add_argument("--directory", default="/dev/shm", help="12 GiB are used there")  # noqa: S108
    parser.add_argument(
        "--only", nargs="+", default=[""], help=f"jobs whose name contains one, or {COSTS}"
    )
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=PEERS)
    parser.add_argument("--before", type=Path, help="a checkout that is built, to compare with")
    parser.add_argument("--busy", action="store_true", help="each processor has other work too")
    return parser.parse_args()


class Comparison:
    """Servers that run side by side, and are measured in turns."""

    def __init__(self, names: tuple[str, ...], before: Path | None, directory: Path) -> None:
        self._names, self._before, self._directory = names, before, directory

    def run(self, jobs: list[Job], rounds: int, seconds: float) -> report.Results:
        """Every job on every server, all of them once per round."""
        results: report.Results = {job: {name: [] for name in self._names} for job in jobs}
        with ExitStack() as stack:
            running = self._start(stack, max(job.size for job in jobs))
            for turn in range(rounds):
                for job in jobs:
                    for place in range(len(running)):
                        name = self._names[(turn + place) % len(running)]
                        before = cpu_seconds(running[name].pid)
                        done = job.measure(running[name].uri, seconds, self._directory)
                        used = cpu_seconds(running[name].pid) - before
                        results[job][name].append(Sample(done.speed, used / done.requests * 1e6))
                print(f"round {turn + 1} of {rounds}", file=sys.stderr)
        return results

    def _start(self, stack: ExitStack, size: int) -> dict[str, Running]:
        image = self._directory / "image"
        write_image(image, size)
        running = {}
        for number, name in enumerate(self._names):
            own = self._directory / f"speed-{number}"
            own.mkdir()
            running[name] = stack.enter_context(serving(name, own, size, self._before))
            run("nbdcopy", str(image), running[name].uri)
        return running


def write_image(path: Path, size: int) -> None:
    """Random data, so that nothing is a hole."""
    with path.open("wb") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))


def filesystem(path: Path) -> str:
    """Its kind, such as tmpfs or ext4."""
    found = run("findmnt", "--noheadings", "--output=FSTYPE", "--target", str(path))
    return found.split()[-1]  # several, where one is mounted over another


def processor() -> str:
    """Its name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if "model name" in line), "unknown")


if __name__ == "__main__":
    main()
