"""How many changes a database has seen, noted in a file beside it: one from a backup has fewer.

Every transaction counts in the database and, after its commit, in the file. So the database may
be ahead of the file, after a crash in between or a power cut (a change does not sync the file);
behind it is only one that was restored.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from evsd.resource import Resource

DIGITS = 20


class NotedChanges(Resource):
    """The file; each process that changes the database has it open."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        text = os.pread(self._fd, DIGITS, 0)
        self.highest = int(text) if text.isdigit() else 0  # what is no number was never whole

    def close(self) -> None:
        """Close the file, which is on disk then, if it can be."""
        with contextlib.suppress(OSError):
            os.fsync(self._fd)
        os.close(self._fd)

    def note(self, changes: int) -> None:
        """Note that the database has seen so many; the number only grows.

        They are committed by now: that the number can't be written is no reason to fail.
        """
        if changes > self.highest:
            self.highest = changes
            with contextlib.suppress(OSError):
                os.pwrite(self._fd, b"%0*d\n" % (DIGITS, changes), 0)
