"""Thick volumes while they are being filled."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.daemon import Evsd, Object

THICK = {"evsd:provisioning": "thick"}

# evsd, but its servers zero 4 MiB in 50 ms, four times as much at once: to fill 3 GiB takes ten
# seconds, where a fast server would have done it before a busy machine's test looked.
_SLOWLY = """
import runpy, sys
from evsd.serving import server
command = server._command
def slowed(*given):
    nbdkit, *arguments = command(*given)
    return [nbdkit, "--filter=delay", *arguments, "delay-zero=50ms"]
server._command = slowed
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
FILLING_SLOWLY = (sys.executable, "-c", _SLOWLY)


def begin(evsd: Evsd, name: str, size: int = 3) -> tuple[str, str]:
    """Begin to create a thick volume; returns the ids of its job and of itself."""
    with evsd.http() as http:
        project = evsd.project_id()
        wanted = {"volume": {"name": name, "size": size, "metadata": THICK}}
        job_id = http.post(f"/v2.1/{project}/cloudvolumes", json=wanted).json()["job_id"]
    return job_id, job(evsd, job_id)["entities"]["volume_id"]


def job(evsd: Evsd, job_id: str) -> Object:
    with evsd.http() as http:
        found: Object = http.get(f"/v1/{evsd.project_id()}/jobs/{job_id}").json()
        return found


@contextmanager
def under_way(evsd: Evsd, job_id: str) -> Iterator[None]:
    """It is being filled, by an evsd that is `FILLING_SLOWLY`, but not before the block ends."""
    progress, deadline = 0, time.monotonic() + 60
    while not progress:
        assert time.monotonic() < deadline
        time.sleep(0.01)
        with evsd.servers_halted():
            found = job(evsd, job_id)
            if progress := found["progress"]:
                assert (found["status"], progress < 100) == ("RUNNING", True)
                yield
