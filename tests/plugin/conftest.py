"""Volumes for the tests: a real file, a real key service, nothing served yet."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.volume import Volume, new_volume


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Volume]:
    """A thin volume."""
    with new_volume(tmp_path) as made:
        yield made


@pytest.fixture
def thick(tmp_path: Path) -> Iterator[Volume]:
    """A thick volume."""
    with new_volume(tmp_path, thin=False) as made:
        yield made


@pytest.fixture
def tmpfs() -> Iterator[Path]:
    """A directory on tmpfs, which can punch holes but not zero ranges."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        yield Path(directory)
