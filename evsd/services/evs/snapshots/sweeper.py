"""Taking the layers of deleted snapshots out of their chains, beside all else."""

from __future__ import annotations

import threading

import structlog

from evsd.resource import Resource
from evsd.serving.snapshots import DiskSnapshots

# A merge gives way to whoever wants the volume; then it is tried again.
AGAIN_S = 30.0

log = structlog.get_logger()


class Sweeper(Resource):
    """A thread that ends with evsd, wherever it is: what it does can be interrupted anywhere."""

    def __init__(self, disks: DiskSnapshots) -> None:
        self._disks = disks
        self._wanted, self._closed = threading.Event(), False

    def start(self) -> None:
        """Begin with what the last run has left."""
        self._wanted.set()
        threading.Thread(target=self._run, name="sweeper", daemon=True).start()

    def close(self) -> None:
        """Begin nothing more."""
        self._closed = True
        self._wanted.set()

    def sweep(self) -> None:
        """Look what can go by now: a snapshot was deleted, or a volume detached."""
        self._wanted.set()

    def _run(self) -> None:
        left = False
        while True:
            self._wanted.wait(AGAIN_S if left else None)
            self._wanted.clear()
            if self._closed:
                return
            left = self._sweep()

    def _sweep(self) -> bool:
        """Whether something is left that can't go yet."""
        try:
            self._disks.sweep()
            return self._disks.has_hidden()
        except Exception:
            log.exception("layers of deleted snapshots are not removed")
            return True
