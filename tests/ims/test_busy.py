"""What can't be done with an image, or a volume, while it is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import Evsd, running_evsd
from tests.support.filling import FILLING_SLOWLY, THICK, job, under_way
from tests.support.images import disk
from tests.support.ims import uploaded
from tests.support.transfer import attached, identical


@pytest.fixture(scope="module")
def evsd() -> Iterator[Evsd]:
    with running_evsd(before=FILLING_SLOWLY) as running:
        running.prepare()
        yield running


def test_an_image_of_which_a_volume_is_being_filled_is_not_deleted(
    evsd: Evsd, tmp_path: Path
) -> None:
    """Its data is copied when the volume is full of zeros; a volume that is given up needs none."""
    raw = disk(tmp_path / "raw")
    image_id = uploaded(evsd, "needed", raw)
    wanted = {"name": "filled", "size": 3, "imageRef": image_id, "metadata": THICK}
    with evsd.http() as http:
        path = f"/v2.1/{evsd.project_id()}/cloudvolumes"
        job_id = http.post(path, json={"volume": wanted}).json()["job_id"]
        with under_way(evsd, job_id):
            refused = http.delete(f"/v2/images/{image_id}")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "IMG.0046")
    assert "image needed is being copied to filled" in refused.json()["error"]["message"]
    evsd.ok("delete", "filled", "--yes")
    assert job(evsd, job_id)["status"] == "FAIL"
    evsd.ok("create", "thin", "--from-image", "needed")
    evsd.ok("image", "delete", "needed", "--yes")
    with attached(evsd, "thin") as uri:
        assert identical(raw, uri)
