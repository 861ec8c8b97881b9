"""Fixtures that all tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.daemon import Evsd, running_evsd


@pytest.fixture
def evsd() -> Iterator[Evsd]:
    """A fresh evsd for one test."""
    with running_evsd() as running:
        yield running


@pytest.fixture(scope="module")
def shared_evsd() -> Iterator[Evsd]:
    """One evsd for the tests of a module, with a key `test-key` and the delegation."""
    with running_evsd() as running:
        running.prepare()
        yield running
