"""Thick volumes while they are being filled."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.daemon import Evsd, Object

THICK = {"evsd:provisioning": "thick"}


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
    """It is being filled, but is not filled before the block ends.

    To fill it takes half a second: until it has begun its server runs for moments only.
    """
    progress, deadline = 0, time.monotonic() + 60
    while not progress:
        assert time.monotonic() < deadline
        time.sleep(0.01)
        with evsd.servers_halted():
            found = job(evsd, job_id)
            if progress := found["progress"]:
                assert found["status"] == "RUNNING"
                yield
