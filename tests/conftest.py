"""Fixtures that all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.daemon import Evsd, running_evsd


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a skipped test fails the run: what is missing is to be installed."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


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
