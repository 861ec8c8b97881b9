"""The guest fixture."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.guest import TIMEOUT_S, Guest, fetch_kernel


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A guest that hangs is to be told of by itself: nobody gives up before it does."""
    for item in items:
        if "guest_kernel" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(2 * TIMEOUT_S))


@pytest.fixture(scope="session")
def guest_kernel() -> None:
    """The guest's kernel is there."""
    fetch_kernel()


@pytest.fixture
def guest(guest_kernel: None, tmp_path: Path) -> Guest:  # noqa: ARG001 - ordered by it
    """Runs scripts in a Linux of its own; see tests.support.guest."""
    return Guest(tmp_path)
