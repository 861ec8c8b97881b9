"""Engine and sessions."""

from __future__ import annotations

import errno
import itertools
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, make_url, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from evsd.errors import storage_error
from evsd.space import refusal
from evsd.store.changes import NotedChanges
from evsd.store.reserve import Reserve
from evsd.store.tables import History

READ_ONLY = "evsd_read_only"
MIGRATIONS = Path(__file__).parent / "migrations"
# What SQLite fails with where its files can't grow or be made. All but the first have more causes.
STORAGE_ERRORS = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
}
# As text it costs a change 0.1 ms, by way of the ORM 0.3.
ONE_MORE = text("UPDATE history SET changes = changes + 1 RETURNING changes")


def utcnow() -> datetime:
    """Now in UTC, without the zone, as the tables hold it."""
    return datetime.now(UTC).replace(tzinfo=None)


def milliseconds(moment: datetime) -> int:
    """A time of the tables as the published API counts it, since 1970."""
    return int(moment.replace(tzinfo=UTC).timestamp() * 1000)


class Database:
    """The one metadata store of a state directory.

    `transaction()` gives a session whose changes are committed at the end of the block and rolled
    back if it raises; `reading()` one that takes no write lock and must not write. Where the
    filesystem takes no more, both raise `StorageFull` or `StorageReadOnly`: nothing is changed.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = _engine(url)
        # SQLite's file has a name beside which others go; another store would be told a path.
        self._file = Path(str(make_url(url).database))
        self._noted = NotedChanges(self._file.with_suffix(".changes"))
        self._reserve: Reserve | None = None
        self._generations = itertools.count(1)
        self.generation = 0  # grows with every transaction of this process, see `cache`
        self._writers = sessionmaker(self.engine, expire_on_commit=False)
        self._readers = sessionmaker(
            self.engine.execution_options(**{READ_ONLY: True}), expire_on_commit=False
        )

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A unit of work: committed at the end, rolled back on any exception."""
        with self._storage(), self._writers.begin() as session:
            yield session
            changes: int = session.execute(ONE_MORE).scalar_one()
        self._noted.note(changes)
        self.written_elsewhere()

    def before_commit(self, work: Callable[[Session], None]) -> None:
        """Have `work` done as the last part of every transaction from now on."""
        event.listen(self._writers, "before_commit", work)

    def written_elsewhere(self) -> None:
        """Another process has written: what this one remembers counts no more."""
        self.generation = next(self._generations)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A consistent view for reading only."""
        with self._storage(), self._readers.begin() as session:
            yield session

    @contextmanager
    def _storage(self) -> Iterator[None]:
        """Name what the filesystem refuses."""
        try:
            yield
        except OperationalError as error:
            code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
            if code not in STORAGE_ERRORS:
                raise
            cause = refusal(self._file.parent)
            if code == sqlite3.SQLITE_FULL:  # even if there is room again
                cause = cause or OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if cause is None:
                raise
            raise storage_error("the state directory", self._file.parent, cause) from error

    def migrate(self) -> None:
        """Bring the schema to the version this program knows; once, by evsd, at start."""
        # Here, for evsd-keys needs none of it: a seventh of what its start takes.
        from alembic import command
        from alembic.config import Config

        self._reserve = Reserve(self._file)
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        with self._storage(), self.engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
        with self.transaction() as session:
            history = session.get_one(History, 1)
            if history.changes < self._noted.highest:
                history.changes, history.restored = self._noted.highest, True
        self.hold_reserve()

    def hold_reserve(self) -> bool:
        """Take, or take again, the room that changes need; False where there is not so much."""
        return self._reserve is not None and self._reserve.hold()

    @property
    def restored(self) -> bool:
        """Whether it is older than what was done with it, and nobody has accepted that yet."""
        with self.reading() as session:
            return session.get_one(History, 1).restored

    def accept(self) -> None:
        """Go on with a database that was restored as with any other."""
        with self.transaction() as session:
            session.get_one(History, 1).restored = False

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()
        if self._reserve is not None:
            self._reserve.close()
        self._noted.close()


def _engine(url: str) -> Engine:
    # No limit of connections: the number of threads is one already, and a thread that waited
    # for the pool while another waits for the write lock would wait for it twice.
    engine = create_engine(url, max_overflow=-1)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _sqlite_connect)
        event.listen(engine, "begin", _sqlite_begin)
    return engine


def _sqlite_connect(connection: Any, _record: Any) -> None:
    # pysqlite's own transaction handling would begin late and deferred: we emit BEGIN ourselves.
    connection.isolation_level = None
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "busy_timeout=10000",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _sqlite_begin(connection: Any) -> None:
    # A deferred BEGIN fails with SQLITE_BUSY when it turns into a write: 51 of 200 concurrent
    # updates went through, 200 of 200 with IMMEDIATE.
    read_only = connection.get_execution_options().get(READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
