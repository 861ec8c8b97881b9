"""An evsd whose state and pool are on one filesystem, which a volume's client has filled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support import libnbd
from tests.support.daemon import Evsd, temporary_state
from tests.support.filesystem import fill, mounted_image

nbd = libnbd.load()
MIB = 2**20
SIZES = {"ext4": 96, "xfs": 320, "tmpfs": 64}


@contextmanager
def evsd_on(kind: str) -> Iterator[Evsd]:
    """An evsd that has a filesystem for itself, with volumes `data`, `device` and `other`."""
    with temporary_state() as directory:
        state = directory / "s"
        state.mkdir()
        directory.chmod(0o755)
        with mounted_image(state, kind, SIZES[kind]):
            evsd = Evsd(state)
            evsd.start()
            try:
                evsd.prepare()
                _create(evsd, "data", "device", "other")
                yield evsd
            finally:
                evsd.clear_up()
                state.with_suffix(".log").unlink()


def _create(evsd: Evsd, *names: str) -> None:
    [key] = evsd.object("key", "list")["keys"]
    metadata = {"__system__encrypted": "1", "__system__cmkid": key}
    with evsd.http() as http:
        path = f"/v2.1/{evsd.project_id()}/cloudvolumes"
        for name in names:
            wanted = {"name": name, "size": 1, "metadata": metadata}
            assert http.post(path, json={"volume": wanted}).status_code == 200


def ballast(evsd: Evsd) -> Path:
    """What took the last block."""
    return evsd.state / "ballast"


@contextmanager
def filled(evsd: Evsd) -> Iterator[Any]:
    """A client of `data` fills the filesystem, and something else takes what is left."""
    ballast(evsd).touch()  # on a full xfs it could not be made
    handle = nbd.NBD()
    handle.connect_uri(evsd.ok("attach", "data", "--transport", "uri"))
    offset = 0
    with suppress(nbd.Error):
        while True:
            handle.pwrite(b"x" * MIB, offset)
            offset += MIB
    fill(ballast(evsd))
    try:
        yield handle
    finally:
        with suppress(nbd.Error):
            handle.shutdown()


@pytest.fixture(scope="module")
def full_ext4() -> Iterator[Evsd]:
    """An evsd on a full filesystem, for several tests: each leaves it full."""
    with evsd_on("ext4") as evsd:
        with filled(evsd):
            pass
        yield evsd
