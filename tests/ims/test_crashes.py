"""evsd is killed while images are made, used and deleted: whole, or gone, after the next start."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.support.daemon import Evsd, running_evsd, until
from tests.support.images import disk
from tests.support.ims import disks, queued, sent, shown, uploaded
from tests.support.transfer import attached, identical

# evsd, but it kills itself before or after the call of a pool's method that a file names.
_KILLED = """
import os, runpy, signal, sys
from pathlib import Path
from evsd.pools.file import FilePool
order = Path(sys.argv.pop(1))
def dying(name):
    method = getattr(FilePool, name)
    def call(*given, **named):
        wanted = order.read_text() if order.exists() else ""
        if wanted == f"before {name}":
            os.kill(os.getpid(), signal.SIGKILL)
        done = method(*given, **named)
        if wanted == f"after {name}":
            os.kill(os.getpid(), signal.SIGKILL)
        return done
    setattr(FilePool, name, call)
for name in ("create", "settle", "delete"):
    dying(name)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return disk(tmp_path_factory.mktemp("raw") / "raw")


@pytest.fixture(scope="module")
def order() -> Iterator[Path]:
    """Where it is written at which call evsd is to die, whatever user it is by then."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory) / "order"


@pytest.fixture(scope="module")
def mortal(order: Path) -> Iterator[Evsd]:
    before = (sys.executable, "-c", _KILLED, str(order))
    with running_evsd(before=before) as running:
        running.prepare()
        yield running


@contextmanager
def killed(evsd: Evsd, order: Path, moment: str) -> Iterator[None]:
    """It dies at that moment of what the block begins, and is started again."""
    order.write_text(moment)
    with suppress(httpx.TransportError):
        yield
    evsd.wait()
    order.unlink()
    evsd.start()


def settled(evsd: Evsd, image_id: str) -> str:
    """The status of an image when nothing is done with it any more."""
    until(lambda: shown(evsd, image_id).get("status") not in ("saving", "pending_delete"))
    return str(shown(evsd, image_id).get("status"))


def holds(evsd: Evsd, image: str, raw: Path) -> bool:
    """Whether a volume of the image has its bytes."""
    evsd.ok("create", "looked-at", "--from-image", image)
    try:
        with attached(evsd, "looked-at") as uri:
            return identical(raw, uri)
    finally:
        evsd.ok("delete", "looked-at", "--yes")


@pytest.mark.parametrize("moment", ["after create", "before settle"])
def test_of_an_upload_that_did_not_come_whole_nothing_is_left(
    mortal: Evsd, order: Path, raw: Path, moment: str
) -> None:
    before = disks(mortal)
    with mortal.http() as http:
        image_id = queued(http, f"cut {moment}")
        with killed(mortal, order, moment):
            sent(http, image_id, raw)
    assert settled(mortal, image_id) == "queued"
    assert disks(mortal) == before


def test_an_upload_that_is_whole_is_gone_on_with(mortal: Evsd, order: Path, raw: Path) -> None:
    before = disks(mortal)
    with mortal.http() as http:
        image_id = queued(http, "gone-on")
        with killed(mortal, order, "after settle"):
            sent(http, image_id, raw)
    assert settled(mortal, image_id) == "active"
    assert disks(mortal) == before | {image_id}
    assert holds(mortal, "gone-on", raw)


@pytest.mark.parametrize("moment", ["after create", "before settle", "after settle"])
def test_an_image_of_a_volume_is_whole_after_the_next_start(
    mortal: Evsd, order: Path, raw: Path, moment: str
) -> None:
    name = moment.replace(" ", "-")
    uploaded(mortal, f"source-{name}", raw)
    mortal.ok("create", f"volume-{name}", "--from-image", f"source-{name}")
    volume_id = mortal.object("show", f"volume-{name}")["volume"]["id"]
    with mortal.http() as http, killed(mortal, order, moment):
        body = {"name": f"of-{name}", "volume_id": volume_id}
        http.post("/v2/cloudimages/action", json=body)
    image_id = mortal.object("image", "show", f"of-{name}")["id"]
    assert settled(mortal, image_id) == "active"
    until(lambda: mortal.object("show", volume_id)["volume"]["status"] == "available")
    assert holds(mortal, f"of-{name}", raw)


@pytest.mark.parametrize(("moment", "is_there"), [("before create", False), ("after create", True)])
def test_a_volume_of_an_image_is_whole_or_gone(
    mortal: Evsd, order: Path, raw: Path, moment: str, is_there: bool
) -> None:
    name = moment.replace(" ", "-")
    image_id = uploaded(mortal, f"origin-{name}", raw)
    project = mortal.project_id()
    wanted = {"volume": {"name": f"of-origin-{name}", "size": 1, "imageRef": image_id}}
    with mortal.http() as http, killed(mortal, order, moment):
        http.post(f"/v2.1/{project}/cloudvolumes", json=wanted)
    assert (f"of-origin-{name}" in mortal.ok("list")) == is_there
    assert holds(mortal, f"origin-{name}", raw)
    if is_there:
        with attached(mortal, f"of-origin-{name}") as uri:
            assert identical(raw, uri)


@pytest.mark.parametrize("moment", ["before delete", "after delete"])
def test_an_image_that_is_being_deleted_is_gone_after_the_next_start(
    mortal: Evsd, order: Path, raw: Path, moment: str
) -> None:
    image_id = uploaded(mortal, f"doomed {moment}", raw)
    with mortal.http() as http, killed(mortal, order, moment):
        http.delete(f"/v2/images/{image_id}")
    assert settled(mortal, image_id) == "None"
    assert image_id not in disks(mortal)
