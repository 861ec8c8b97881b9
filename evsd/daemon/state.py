"""The state directory at start: taken by one evsd, and only where it is evsd's own or empty."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evsd.daemon.settings import BadSettings, StateDirectory

# What may be in a new state directory: the log and the settings of the one who starts evsd.
FOREIGN_FILES = 8


def refuse_lost_database(state: StateDirectory, pool: Path) -> None:
    """An empty database beside what an earlier one knew of must be somebody's decision."""
    if not state.database.exists() and (trace := _trace_of_database(state, pool)):
        raise BadSettings(
            f"{state.database} is gone, but {trace} is there: restore it from a backup; if there "
            "is none, --new-database starts with an empty one, for `evsctl recover`"
        )


def _trace_of_database(state: StateDirectory, pool: Path) -> Path | None:
    traces = [file for file in (state.token / "pin", state.changes) if _has_content(file)]
    return next(iter([*traces, *pool.glob("*.luks")]), None)


def _has_content(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0


@contextmanager
def taken(state: StateDirectory, pool: Path, *, new_database: bool) -> Iterator[None]:
    """Have the directories for the block, as the only evsd, and make what is missing of them."""
    os.umask(0o077)
    _refuse_foreign(state, new_database=new_database)
    state.path.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        for lock in sorted({state.lock, state.database_lock}):
            stack.enter_context(_only_one(lock))
        if not state.servers.exists():
            # Others may pass through to the sockets, whose own modes and peer checks decide.
            state.path.chmod(0o711)
            if pool.exists() and not any(pool.iterdir()):
                pool.chmod(0o700)
        pool.mkdir(parents=True, exist_ok=True)
        os.umask(0o066)  # of one step, or a crash could leave it closed
        state.servers.mkdir(mode=0o711, exist_ok=True)
        os.umask(0o077)
        yield


def _refuse_foreign(state: StateDirectory, *, new_database: bool) -> None:
    """A mistyped --state-dir must not change the modes and owners of somebody's files.

    What was put back from a backup has no lock, but a token or a database; with --new-database
    it may be a pool alone, whose keys are in an HSM.
    """
    marks = [state.lock, state.token / "pin"]
    if state.database.parent == state.path:
        marks.append(state.database)
    if not state.path.exists() or any(mark.exists() for mark in marks):
        return
    there = state.path.iterdir()
    foreign = [path for path in there if not (new_database and state.is_own(path))]
    directory = next((path for path in foreign if path.is_dir()), None)
    if directory or len(foreign) > FOREIGN_FILES:
        raise BadSettings(
            f"{state.path} is not empty and was not made by evsd, see {directory or foreign[0]}: "
            "name another directory; for the pool of an evsd whose database and token are "
            "elsewhere or lost, say --new-database"
        )


@contextlib.contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    """Two evsd on one state directory, or database, would fight over token, servers and records."""
    # Root does this in a directory of evsd's user, who must not lead it elsewhere by a link.
    fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BadSettings(f"another evsd runs on {lock.parent}") from error
        yield
    finally:
        os.close(fd)
