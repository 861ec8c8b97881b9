"""A pool and its servers, for all tests of a module."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.served_disks import ServedDisks, served_disks


@pytest.fixture(scope="module")
def disks() -> Iterator[ServedDisks]:
    """On tmpfs."""
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as directory,
        served_disks(Path(directory)) as made,
    ):
        yield made
