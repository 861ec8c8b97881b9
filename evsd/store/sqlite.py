"""What SQLite needs that another database would not: care for its one file, and its own locking."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError

from evsd.errors import storage_error
from evsd.resource import Resource
from evsd.space import refusal
from evsd.store.changes import NotedChanges
from evsd.store.reserve import Reserve

READ_ONLY = "evsd_read_only"
# What SQLite fails with where its files can't grow or be made. All but the first have more causes.
STORAGE_ERRORS = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
}


class SqliteFile(Resource):
    """The file of a database: whether it is from a backup, and the room it needs."""

    def __init__(self, path: Path) -> None:
        # Beside its name others go.
        self.path = path
        self.noted = NotedChanges(path.with_suffix(".changes"))
        self._reserve: Reserve | None = None

    def close(self) -> None:
        """Let go of it, after the last connection was closed."""
        if self._reserve is not None:
            self._reserve.close()
        self.noted.close()

    def reserve(self) -> None:
        """Have room for changes; before the first connection is opened."""
        self._reserve = Reserve(self.path)

    def hold_reserve(self) -> bool:
        """Take, or take again, that room; False where there is not so much."""
        return self._reserve is not None and self._reserve.hold()

    @contextmanager
    def storage(self) -> Iterator[None]:
        """Name what the filesystem refuses: `StorageFull`, `StorageReadOnly`."""
        try:
            yield
        except OperationalError as error:
            code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
            if code not in STORAGE_ERRORS:
                raise
            directory = self.path.parent
            cause = refusal(directory)
            if code == sqlite3.SQLITE_FULL:  # even if there is room again
                cause = cause or OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if cause is None:
                raise
            raise storage_error("the state directory", directory, cause) from error


def set_up(engine: Engine) -> None:
    """How SQLite keeps records safe, and lets many read while one writes."""
    event.listen(engine, "connect", _connect)
    event.listen(engine, "begin", _begin)


def _connect(connection: Any, _record: Any) -> None:
    # pysqlite's own transaction handling would begin late and deferred: we emit BEGIN ourselves.
    connection.isolation_level = None
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "busy_timeout=10000",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Any) -> None:
    # A deferred BEGIN fails with SQLITE_BUSY when it turns into a write: 51 of 200 concurrent
    # updates went through, 200 of 200 with IMMEDIATE.
    read_only = connection.get_execution_options().get(READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
