"""What was read is kept until this process writes again.

Good for tables that one process alone writes (`tables` says which): another's writes would not be
noticed. A request that needs one record it has seen before then costs no query (0.25 ms).

So there is one evsd, with one evsd-keys, to a database. Beside a second one a key that was
disabled, an access key that was deleted, a user that was disabled or a role that was taken away
there would go on working here, and what was made there would not be found: in evsd-keys until its
maintenance writes, once a minute, in evsd until somebody changes something. docs/architecture.md
says what would have to come first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from sqlalchemy.orm import Session

from evsd.store.database import Database

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

LIMIT = 20_000


class Cache(Generic[K, V]):
    """``cache(key)`` is ``read(session, key)``, asked once between two transactions."""

    def __init__(self, database: Database, read: Callable[[Session, K], V]) -> None:
        self._database, self._read = database, read
        self._generation, self._values = -1, dict[K, V]()
        self._lock = threading.Lock()  # generation and values change together

    def __call__(self, key: K) -> V:
        """The value for `key`. Records in it are detached: for reading only."""
        with self._lock:
            generation = self._database.generation
            if generation != self._generation or len(self._values) > LIMIT:
                self._values, self._generation = {}, generation
            values = self._values
        if key not in values:
            with self._database.reading() as session:
                # Into the dictionary of the generation that was current before reading.
                values[key] = self._read(session, key)
        return values[key]
