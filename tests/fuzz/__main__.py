"""Fuzz one target: ``python -m tests.fuzz header|requests [--seconds N | --runs N]``.

The parser of headers is Python, so atheris guides it by coverage. The request path is C: inputs are
mutated at random and the module is to be built with sanitizers (see tests/plugin/test_sanitizers).
With --keep, inputs that reached new code go into the seeds' folder, to be committed. One that fails
is written to the current folder, and replayed by giving its name.
"""

from __future__ import annotations

import argparse
import importlib
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SEEDS = Path(__file__).parent / "seeds"
TARGETS = ("header", "requests")


def main() -> None:
    """Run until the time is over or something fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    limit = parser.add_mutually_exclusive_group()
    limit.add_argument("--seconds", type=int, default=20)
    limit.add_argument("--runs", type=int, help="so many inputs, the same every time")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--replay", type=Path)
    options = parser.parse_args()
    if options.replay:
        target(options.target).run(options.replay.read_bytes())
    elif options.target == "requests":
        blind(options.seconds, options.runs)
    elif options.keep:
        guided(options.seconds, options.runs, SEEDS / "header")
    else:
        with tempfile.TemporaryDirectory() as scratch:
            guided(options.seconds, options.runs, Path(scratch))


def target(name: str) -> Any:
    """Its module; imported late, so that atheris sees it coming."""
    return importlib.import_module(f"tests.fuzz.{name}")


def guided(seconds: int, runs: int | None, folder: Path) -> None:
    """By atheris, which puts what it finds into the folder; ends the process."""
    import atheris

    with atheris.instrument_imports(include=["nbd_plugin"]):
        header = target("header")
    for name, data in header.seeds().items():
        (folder / name).write_bytes(data)
    limits = [f"-runs={runs}", "-seed=1"] if runs else [f"-max_total_time={seconds}"]
    options = ["-max_len=33000", "-print_final_stats=1", *limits]
    atheris.Setup([sys.argv[0], *options, str(folder), str(SEEDS / "header")], header.run)
    atheris.Fuzz()


def blind(seconds: int, runs: int | None) -> None:
    """By chance; each input is one of the corpus, changed here and there."""
    chance = random.Random(1 if runs else time.time_ns())  # noqa: S311
    requests, done = target("requests"), 0
    inputs = [*requests.seeds().values()]
    inputs += [path.read_bytes() for path in sorted((SEEDS / "requests").iterdir())]
    end = time.monotonic() + seconds
    while done < runs if runs else time.monotonic() < end:
        data = bytearray(chance.choice(inputs))
        for _ in range(chance.randrange(1, 64)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        done += 1
        try:
            requests.run(bytes(data))
        except BaseException:
            Path("crash-requests").write_bytes(data)
            raise
    print(f"{done} inputs, nothing found")


if __name__ == "__main__":
    main()
