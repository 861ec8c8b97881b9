"""Filling thick volumes with encrypted zeros, in the background.

The zeros are written through the volume's own server: evsd never has a volume's key.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from evsd.connector import ConnectorError
from evsd.connector.writing import write_zeros
from evsd.resource import Resource

# Serves a volume to evsd itself until the block ends; gives the server's socket.
Serve = Callable[[str], AbstractContextManager[Path]]

log = structlog.get_logger()


class Stopped(Exception):
    """evsd is stopping: what was begun stays in the journal for its next start."""


class Cancelled(Exception):
    """Somebody wants this operation undone."""


class FillFailed(Exception):
    """The volume's server did not take the zeros."""


@dataclass(slots=True)
class _Work:
    thread: threading.Thread
    cancelled: threading.Event = field(default_factory=threading.Event)
    percent: int = 0


class Preallocation(Resource):
    """The operations that fill volumes, one thread each, by the volume's id."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._works: dict[str, _Work] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def close(self) -> None:
        """Stop all work where it is."""
        self._stopping.set()
        for work in list(self._works.values()):
            work.thread.join()

    def start(self, volume_id: str, operation: Callable[[], object]) -> None:
        """Run an operation that calls `fill`; it deals with its own failures."""

        def run() -> None:
            try:
                operation()
            except Stopped:
                log.warning("filling goes on, or is undone, at the next start", volume=volume_id)
            except Exception:
                log.exception("filling failed", volume=volume_id)
            finally:
                with self._lock:
                    del self._works[volume_id]

        work = _Work(threading.Thread(target=run, name=f"fill-{volume_id}", daemon=True))
        with self._lock:
            self._works[volume_id] = work
        work.thread.start()

    def fill(self, volume_id: str, start: int, end: int) -> None:
        """Write encrypted zeros to the volume from `start` to `end`, in bytes.

        Raises `Stopped`, `Cancelled`, `FillFailed`, and what serving a volume can be refused with.
        """
        work = self._works[volume_id]

        def written(count: int) -> None:
            work.percent = 100 * count // (end - start)
            if self._stopping.is_set():
                raise Stopped
            if work.cancelled.is_set():
                raise Cancelled

        written(0)
        with self._serve(volume_id) as socket:
            try:
                write_zeros(socket, start, end, written)
            except ConnectorError as error:
                raise FillFailed(error.message) from error

    def cancel(self, volume_id: str) -> None:
        """Have the volume's operation undone, and wait until it has ended."""
        work = self._works.get(volume_id)
        if work is not None:
            work.cancelled.set()
            work.thread.join()

    def percent(self, volume_id: str) -> int | None:
        """How far it is; None where nothing is being filled."""
        work = self._works.get(volume_id)
        return None if work is None else work.percent
