"""Compare the data path with its peers: over a unix socket, everything on tmpfs.

The servers take turns within every round, so that a busy minute of the machine hits all of them;
what counts are the medians over the rounds and their ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench import report
from bench.jobs import COPY_SIZE, JOBS, Job
from bench.resources import VOLUMES, cost, idle
from bench.servers import NAMES, run, serving
from tests.support.volume import MIB

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Run the comparison, print the tables, keep them and the figures under bench/results/."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of every fio run")
    parser.add_argument("--directory", default="/dev/shm", help="12 GiB are used there")  # noqa: S108
    parser.add_argument("--only", default="", help="jobs whose name contains this; keeps nothing")
    options = parser.parse_args()
    jobs = [job for job in JOBS if options.only in job.name]
    with tempfile.TemporaryDirectory(dir=options.directory) as temporary:
        directory = Path(temporary)
        results = measure(jobs, options.rounds, options.seconds, directory)
        print(report.table(results))
        if options.only:
            return
        costs = {name: cost(name, directory, options.rounds) for name in NAMES}
        crowds = [idle(directory, count) for count in (1, 10, VOLUMES)]
    head = (
        f"Medians of {options.rounds} rounds of {options.seconds:g} s each; fio's nbd engine and "
        f"nbdcopy, unix socket;\non {options.directory}, {os.cpu_count()} processors "
        f"({processor()}), kernel {platform.release()}.\n"
        "In brackets: evsd divided by that server.\n"
    )
    parts = [head, report.table(results), report.missed(results), report.costs(costs, crowds)]
    text = "\n".join(parts)
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "datapath.md").write_text(text)
    figures = {job.name: by_name for job, by_name in report.medians(results).items()}
    (RESULTS / "datapath.json").write_text(json.dumps(figures, indent=1) + "\n")


def measure(jobs: list[Job], rounds: int, seconds: float, directory: Path) -> report.Results:
    """Every job on every server, all of them once per round."""
    results: report.Results = {job: {name: [] for name in NAMES} for job in jobs}
    with ExitStack() as stack:
        write_image(directory / "image")
        uris: dict[str, str] = {}
        for name in NAMES:
            own = fresh(directory / f"speed-{len(uris)}")
            uris[name] = stack.enter_context(serving(name, own, COPY_SIZE)).uri
            run("nbdcopy", str(directory / "image"), uris[name])
        for turn in range(rounds):
            for job in jobs:
                for place in range(len(NAMES)):
                    name = NAMES[(turn + place) % len(NAMES)]
                    results[job][name].append(job.measure(uris[name], seconds, directory))
            print(f"round {turn + 1} of {rounds}", file=sys.stderr)
    (directory / "image").unlink()
    return results


def write_image(path: Path) -> None:
    """Random data, so that nothing is a hole."""
    with path.open("wb") as file:
        for _ in range(COPY_SIZE // MIB):
            file.write(os.urandom(MIB))


def fresh(directory: Path) -> Path:
    """Make it."""
    directory.mkdir()
    return directory


def processor() -> str:
    """Its name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if "model name" in line), "unknown")


if __name__ == "__main__":
    main()
