"""The guest fixture."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.guest import Guest, fetch_kernel


@pytest.fixture(scope="session")
def guest_kernel() -> None:
    """The guest's kernel is there."""
    fetch_kernel()


@pytest.fixture
def guest(guest_kernel: None, tmp_path: Path) -> Guest:  # noqa: ARG001 - ordered by it
    """Runs scripts in a Linux of its own; see tests.support.guest."""
    return Guest(tmp_path)
