"""Deletions that can't begin: the volume is what it was, with all its data."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.support.administrator import taken
from tests.support.daemon import Evsd
from tests.support.nbd import works
from tests.support.transfer import attached


@contextmanager
def closed(file: Path) -> Iterator[None]:
    """To evsd, which has no capabilities, whoever it runs as."""
    file.chmod(0)
    yield
    file.chmod(0o600)


@contextmanager
def in_a_closed_pool(file: Path) -> Iterator[None]:
    file.parent.chmod(0o500)
    yield
    file.parent.chmod(0o700)


@contextmanager
def damaged_and_taken(file: Path) -> Iterator[None]:
    with file.open("r+b") as stream:
        head = stream.read(32768)
        os.pwrite(stream.fileno(), os.urandom(32768), 0)
        with taken(file):
            yield
        os.pwrite(stream.fileno(), head, 0)


@pytest.mark.parametrize("harmed", [taken, closed, in_a_closed_pool, damaged_and_taken])
def test_a_volume_whose_file_can_not_be_deleted_is_as_it_was(
    shared_evsd: Evsd, harmed: Callable[[Path], AbstractContextManager[None]]
) -> None:
    name = harmed.__name__
    shared_evsd.ok("create", name, "--size", "1G", "--key", "test-key")
    with attached(shared_evsd, name) as uri:
        works(uri, "write -P 7 0 4k", "flush")
    with harmed(shared_evsd.pool_file(name)):
        refused = shared_evsd.ctl("delete", name, "--yes")
    assert (refused.status, "its file is as it was" in refused.err) == (1, True), refused
    assert shared_evsd.object("show", name)["volume"]["status"] == "available"
    with attached(shared_evsd, name) as uri:
        works(uri, "read -P 7 0 4k")
    shared_evsd.ok("delete", name, "--yes")
