"""Volumes for the tests: a real file, a real key service, nothing served yet."""

from __future__ import annotations

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
