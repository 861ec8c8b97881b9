"""Servers for tests that write whole volumes: their pool is in memory, it is not under test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.daemon import Evsd, running_evsd
from tests.support.filling import FILLING_SLOWLY
from tests.support.transfer import small_pool


@contextmanager
def evsd_in_memory(*before: str) -> Iterator[Evsd]:
    """A fresh evsd, run by `before`, with room for 6000 MiB."""
    with (
        small_pool(6000) as (pool, config),
        running_evsd("--config", str(config), before=before) as running,
    ):
        running.pool = pool
        yield running


@pytest.fixture
def evsd() -> Iterator[Evsd]:
    """A fresh evsd for one test."""
    with evsd_in_memory() as running:
        yield running


@pytest.fixture
def filling_slowly() -> Iterator[Evsd]:
    """One for a test that meets it while it fills a volume."""
    with evsd_in_memory(*FILLING_SLOWLY) as running:
        running.prepare()
        yield running


@pytest.fixture(scope="module")
def shared_evsd() -> Iterator[Evsd]:
    """One evsd for the tests of a module, with a key `test-key` and the delegation."""
    with evsd_in_memory() as running:
        running.prepare()
        yield running
