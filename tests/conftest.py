"""Fixtures that all tests share."""

from __future__ import annotations

import compileall
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import Evsd, running_evsd

CHECKOUT = Path(__file__).resolve().parents[1]
LONGEST = ("guest/test_evsd.py", "guest/", "kms/test_hsm.py", "kms/test_profiles.py")
"""What runs first, in this order: nobody should wait for it at the end, with all else done.

One worker takes a whole module (see Makefile), and `make test` ends with what took longest.
"""

REAL_STARTS = ("daemon/", "kms/test_hsm", "kms/test_module_output.py", "attach/test_memory.py")
"""Where evsd and evsd-keys are really started, as it matters how, what they find or hold in memory.

In all other tests they are forked from what is loaded already, see `tests.support.preloaded`.
"""


def pytest_configure(config: pytest.Config) -> None:
    """Compile once what hundreds of processes load: a fifth of the processor time of their start.

    They may not be able to write it themselves, as another user, or where
    PYTHONDONTWRITEBYTECODE is set.
    """
    if not hasattr(config, "workerinput"):  # before xdist starts any worker
        for package in ("evsd", "nbd_plugin", "tests"):
            compileall.compile_dir(CHECKOUT / package, quiet=1)


def _name(path: Path) -> str:
    """Of a module of tests, by its folder."""
    return path.relative_to(CHECKOUT / "tests").as_posix()


def _turn(module: str) -> int:
    """Where in `LONGEST` a module is; all others come after them, in the order they are in."""
    return next((turn for turn, name in enumerate(LONGEST) if module.startswith(name)), 99)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _turn(_name(item.path)))
    # Of several tests with one id xdist runs one.
    assert len({item.nodeid for item in items}) == len(items)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a skipped test fails the run: what is missing is to be installed."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="module", autouse=True)
def _starts(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Evsd, "preloaded", not _name(request.path).startswith(REAL_STARTS))
        yield


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


@pytest.fixture
def tmpfs() -> Iterator[Path]:
    """A directory on tmpfs, which can punch holes but not zero ranges."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        yield Path(directory)
