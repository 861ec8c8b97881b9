"""Images over plain HTTP, as Glance's clients send them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from tests.support.daemon import Evsd, Object, until

OCTETS = {"Content-Type": "application/octet-stream"}


def queued(http: httpx.Client, name: str, **fields: Any) -> str:
    """A new image that waits for its data; returns its id."""
    wanted = {"name": name, "container_format": "bare", **fields}
    answer = http.post("/v2/images", json=wanted)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def sent(http: httpx.Client, image_id: str, file: Path) -> httpx.Response:
    """The answer to its data."""
    with file.open("rb") as content:
        return http.put(f"/v2/images/{image_id}/file", content=content, headers=OCTETS)


def uploaded(evsd: Evsd, name: str, file: Path, **fields: Any) -> str:
    """An active image of a file; returns its id."""
    with evsd.http() as http:
        image_id = queued(http, name, **fields)
        answer = sent(http, image_id, file)
        assert answer.status_code == 204, answer.text
    return image_id


def shown(evsd: Evsd, image_id: str) -> Object:
    with evsd.http() as http:
        found: Object = http.get(f"/v2/images/{image_id}").json()
        return found


def ended(evsd: Evsd, job_id: str) -> Object:
    """A job when it has ended, as the path of all services shows it."""
    path = f"/v1/{evsd.project_id()}/jobs/{job_id}"
    with evsd.http() as http:
        until(lambda: http.get(path).json()["status"] != "RUNNING")
        found: Object = http.get(path).json()
        return found


def disks(evsd: Evsd) -> set[str]:
    """The ids of all that is in the pool."""
    return {file.name.partition(".")[0] for file in evsd.pool.iterdir()}
