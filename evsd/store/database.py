"""Engine and sessions."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from sqlalchemy import create_engine, event, text
from sqlalchemy.orm import Session, sessionmaker

from evsd.store.schema import bring_up
from evsd.store.sqlite import READ_ONLY, SqliteFile, set_up
from evsd.store.tables import History
from evsd.store.url import file_of

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
        """Raises `DatabaseUnsupported` for what is no SQLite: what that needs is in `sqlite`."""
        self.url = url
        self._file = SqliteFile(file_of(url))
        # No limit of connections: the number of threads is one already, and a thread that waited
        # for the pool while another waits for the write lock would wait for it twice.
        self.engine = create_engine(url, max_overflow=-1)
        set_up(self.engine)
        self._generations = itertools.count(1)
        self.generation = 0  # grows with every transaction of this process, see `cache`
        self._writers = sessionmaker(self.engine, expire_on_commit=False)
        self._readers = sessionmaker(
            self.engine.execution_options(**{READ_ONLY: True}), expire_on_commit=False
        )

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A unit of work: committed at the end, rolled back on any exception."""
        with self._file.storage(), self._writers.begin() as session:
            yield session
            changes: int = session.execute(ONE_MORE).scalar_one()
        self._file.noted.note(changes)
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
        with self._file.storage(), self._readers.begin() as session:
            yield session

    def migrate(self) -> None:
        """Bring the schema to the version this program knows; once, by evsd, at start."""
        self._file.reserve()
        with self._file.storage(), self.engine.connect() as connection:
            bring_up(connection)
            connection.commit()
        with self.transaction() as session:
            history, highest = session.get_one(History, 1), self._file.noted.highest
            if history.changes < highest:
                history.changes, history.restored = highest, True
        self.hold_reserve()

    def hold_reserve(self) -> bool:
        """Take, or take again, the room that changes need; False where there is not so much."""
        return self._file.hold_reserve()

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
        self._file.close()
