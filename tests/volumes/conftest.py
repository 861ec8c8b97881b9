"""Servers for tests that write whole volumes: their pool is in memory, it is not under test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.daemon import Evsd, running_evsd
from tests.support.transfer import small_pool


@pytest.fixture
def evsd() -> Iterator[Evsd]:
    """A fresh evsd for one test."""
    with small_pool(6000) as (pool, config), running_evsd("--config", str(config)) as running:
        running.pool = pool
        yield running


@pytest.fixture(scope="module")
def shared_evsd() -> Iterator[Evsd]:
    """One evsd for the tests of a module, with a key `test-key` and the delegation."""
    with small_pool(6000) as (pool, config), running_evsd("--config", str(config)) as running:
        running.pool = pool
        running.prepare()
        yield running
