"""Engine and sessions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.orm import Session, sessionmaker

READ_ONLY = "evsd_read_only"
MIGRATIONS = Path(__file__).parent / "migrations"


def utcnow() -> datetime:
    """Now in UTC, without the zone, as the tables hold it."""
    return datetime.now(UTC).replace(tzinfo=None)


class Database:
    """The one metadata store of a state directory.

    `transaction()` gives a session whose changes are committed at the end of the block and rolled
    back if it raises; `reading()` one that takes no write lock and must not write.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = _engine(url)
        self._writers = sessionmaker(self.engine, expire_on_commit=False)
        self._readers = sessionmaker(
            self.engine.execution_options(**{READ_ONLY: True}), expire_on_commit=False
        )

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A unit of work: committed at the end, rolled back on any exception."""
        with self._writers.begin() as session:
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A consistent view for reading only."""
        with self._readers.begin() as session:
            yield session

    def migrate(self) -> None:
        """Bring the schema to the version this program knows; once, by evsd, at start."""
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        with self.engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


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
