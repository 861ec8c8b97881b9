"""Disks that somebody has to himself for a moment, among the threads of this evsd."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


class HeldDisks:
    """Starting a server and changing a disk's layers exclude each other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, tuple[threading.RLock, int]] = {}

    @contextmanager
    def held(self, *disk_ids: str) -> Iterator[None]:
        """Have all of them until the block ends; who has one may take it again."""
        with ExitStack() as stack:
            for disk_id in sorted(set(disk_ids)):
                stack.enter_context(self._one(disk_id))
            yield

    def wanted(self, disk_id: str) -> bool:
        """Whether somebody waits for a disk that its caller has."""
        _, users = self._held.get(disk_id, (None, 0))
        return users > 1

    @contextmanager
    def _one(self, disk_id: str) -> Iterator[None]:
        with self._lock:
            lock, users = self._held.get(disk_id, (threading.RLock(), 0))
            self._held[disk_id] = lock, users + 1
        try:
            with lock:
                yield
        finally:
            with self._lock:
                lock, users = self._held.pop(disk_id)
                if users > 1:
                    self._held[disk_id] = lock, users - 1
