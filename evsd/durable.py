"""Making sure that files are on disk."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def sync(path: Path) -> None:
    """Wait until a file's content, or a directory's entries, are on disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_changed(directory: Path, since_ns: int) -> None:
    """Sync what changed below `directory` at or after a time (nanoseconds since 1970).

    Files are read from disk by their time stamps, so the cost grows with the number of files by
    one stat each only.
    """
    for path in [directory, *directory.rglob("*")]:
        with contextlib.suppress(FileNotFoundError):  # others may work there
            status = path.stat()
            if max(status.st_mtime_ns, status.st_ctime_ns) >= since_ns:
                sync(path)
