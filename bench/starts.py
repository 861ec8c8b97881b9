"""How long evsd and evsctl take to start; `make bench-starts`.

evsd from its start until it is ready, with a new state directory, with an old one, and with one
that is full: so many keys on the token, so many volumes attached. evsctl from the shell to its
exit. Processor time is that of evsd and evsd-keys together. Another build, as that of the commit
before, can be measured beside this one.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from evsd.cli.client import Api
from tests.support.daemon import VENV_BIN, Evsd, running_evsd, temporary_state
from tests.support.many_keys import add_keys
from tests.support.traces import children_named

Times = tuple[float, float]  # wall and processor, in seconds
COMMANDS = 20


def main() -> None:
    """Print one table: medians, and in brackets the processor time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keys", type=int, default=10_000)
    parser.add_argument("--volumes", type=int, default=500)
    parser.add_argument("--parent", type=Path, help="a checkout with another build of evsd")
    options = parser.parse_args()
    builds = {"evsd": VENV_BIN}
    if options.parent is not None:
        builds["evsd before"] = options.parent / ".venv" / "bin"
    rows: dict[str, dict[str, list[Times]]] = {}

    def note(what: str, name: str, found: list[Times]) -> None:
        rows.setdefault(what, {}).setdefault(name, []).extend(found)

    for _ in range(options.rounds):
        for name, built in builds.items():
            with running_evsd(built=built) as evsd:
                note("evsctl list", name, [_command(evsd) for _ in range(COMMANDS)])
                evsd.stop()
                note("evsd, old state", name, [_started(evsd)])
            note("evsd, new state", name, [_of_new(built)])
    if options.volumes:
        full = f"evsd, {options.keys:,} keys, {options.volumes:,} volumes attached"
        for name, built in builds.items():
            note(full, name, _full(built, options))
    print(_table(rows, list(builds)))


def _started(evsd: Evsd) -> Times:
    """A start, after which it runs."""
    began = time.monotonic()
    evsd.start()
    took = time.monotonic() - began
    return took, _processor(evsd.pid) + sum(map(_processor, children_named(evsd.pid, "evsd-keys")))


def _of_new(built: Path) -> Times:
    """A first start."""
    with temporary_state() as state:
        evsd = Evsd(state)
        evsd.built_in(built)
        try:
            return _started(evsd)
        finally:
            evsd.clear_up()


def _full(built: Path, options: argparse.Namespace) -> list[Times]:
    with running_evsd(built=built) as evsd:
        evsd.prepare()
        with ThreadPoolExecutor(4) as workers:
            list(workers.map(lambda n: _attach(evsd, f"v{n}"), range(options.volumes)))
        evsd.stop()
        add_keys(evsd, options.keys)
        found = []
        for _ in range(options.rounds):
            found.append(_started(evsd))
            evsd.stop()
        return found


def _attach(evsd: Evsd, name: str) -> None:
    api = Api(f"unix://{evsd.socket}", "default")
    metadata = {"__system__encrypted": "1"}
    wanted = {"name": name, "size": 1, "availability_zone": "local", "volume_type": "SSD"}
    body = {"volume": {**wanted, "metadata": metadata}}
    job = api.job(api.request("POST", "/v2.1/{project}/cloudvolumes", body)["job_id"])
    volume_id = job["entities"]["volume_id"]
    attachment = {"volume_uuid": volume_id, "connector": {"host": "bench"}, "mode": "rw"}
    made = api.attachment("POST", body={"attachment": attachment})["attachment"]
    api.attachment("POST", f"{made['id']}/action", {"os-complete": None})


def _command(evsd: Evsd) -> Times:
    before, began = _of_children(), time.monotonic()
    subprocess.run(
        [evsd.evsctl, "list"],
        env=evsd._ctl_environment(evsd.socket),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.monotonic() - began, _of_children() - before


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _processor(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _table(rows: dict[str, dict[str, list[Times]]], names: list[str]) -> str:
    lines = [f"| | {' | '.join(names)} |", "|---|" + "--:|" * len(names)]
    for what, by_name in rows.items():
        cells = [_cell(by_name[name]) for name in names]
        lines.append(f"| {what} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(times: list[Times]) -> str:
    median: Callable[[int], float] = lambda i: statistics.median(each[i] for each in times)  # noqa: E731
    return f"{median(0):.2f} s ({median(1):.2f})"


if __name__ == "__main__":
    main()
