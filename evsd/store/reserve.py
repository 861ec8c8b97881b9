"""The room that the database always has, also on a full filesystem.

A commit is appended to SQLite's write-ahead log, which begins anew at its start when all of it is
in the database, after 1000 pages (4 MiB) and the rest of a transaction; so with `LOG_BYTES`
allocated to the log, and `GROWTH_BYTES` behind the end of the database, commits need nothing of
the filesystem.

When the last connection closes, SQLite removes the log and its index. Their blocks stay, because
evsd has second names for both, `evsd.reserve` and `evsd.index`, and they are what the next start
opens. (SQLite's own would truncate the index and need new blocks for it, which an unprivileged
process may not have even where some are free: ext4 keeps a part for root.) What else a start makes,
sockets, has the room of `evsd.spare`, which is given up where it is needed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from pathlib import Path

from evsd.resource import Resource
from evsd.space import MIB, REFUSALS, Level, look, reserve

LOG_BYTES, GROWTH_BYTES, SPARE_BYTES = 6 * MIB, MIB, MIB
SHARE = 2  # at most this part of what is free is taken at once: it isn't evsd that fills a disk
_LOG_HEADER_LENGTH = 32
_INDEX_LENGTH = 32 * 1024  # one region of it, for 4062 pages of log
# Who has this byte of the index locked uses it, by SQLite's os_unix.c (UNIX_SHM_DMS).
_IN_USE = 128


class Reserve(Resource):
    """Of one SQLite file: made before the first connection is opened, closed after the last one.

    Files that SQLite locks stay open in between: to close them takes a process's locks away.
    """

    def __init__(self, database: Path) -> None:
        self._log, self._index = Path(f"{database}-wal"), Path(f"{database}-shm")
        self._seconds = {
            self._log: database.with_suffix(".reserve"),
            self._index: database.with_suffix(".index"),
        }
        self._spare = database.with_suffix(".spare")
        if self._spare.exists() and look(database.parent).level(0) == Level.FULL:
            self._spare.unlink()
        for name, second in self._seconds.items():
            if second.exists() and not name.exists():
                _blank(second, _LOG_HEADER_LENGTH)
                with contextlib.suppress(OSError):  # SQLite makes its own
                    name.hardlink_to(second)
        self._fds = [os.open(database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)]
        if self._index.exists():
            self._fds.append(_use(self._index))

    def close(self) -> None:
        """Let go of the files."""
        for fd in self._fds:
            os.close(fd)

    def hold(self) -> bool:
        """Take what is missing of the room; False where the filesystem has not so much."""
        database = self._fds[0]
        held = self._take(database, os.fstat(database).st_size + GROWTH_BYTES)
        for name, second in self._seconds.items():
            if name.exists() and not (second.exists() and second.samefile(name)):
                second.unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # not every filesystem has second names
                    second.hardlink_to(name)
        held &= self._take_for(self._log, LOG_BYTES)
        return self._take_for(self._spare, SPARE_BYTES) and held

    def _take_for(self, path: Path, length: int) -> bool:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno in REFUSALS:
                return False
            raise
        try:
            return self._take(fd, length)
        finally:
            os.close(fd)

    def _take(self, fd: int, length: int) -> bool:
        there = os.fstat(fd).st_blocks * 512
        possible = there + look(self._log.parent).free // SHARE
        return reserve(fd, min(length, possible)) and length <= possible


def _use(index: Path) -> int:
    """Lock the index as one of its users: SQLite then takes it as it is and doesn't truncate it.

    The first user finds zeros in it, from which SQLite makes it anew. The lock is of the open
    file, not of the process: SQLite's own in this process are others.
    """
    fd = os.open(index, os.O_RDWR | os.O_CLOEXEC)
    with contextlib.suppress(OSError):  # somebody else uses it
        _lock(fd, fcntl.F_WRLCK)
        os.pwrite(fd, bytes(_INDEX_LENGTH), 0)
    with contextlib.suppress(OSError):  # without it SQLite truncates the index
        _lock(fd, fcntl.F_RDLCK)
    return fd


def _lock(fd: int, kind: int) -> None:
    wanted = struct.pack("hhqqi4x", kind, os.SEEK_SET, _IN_USE, 1, 0)  # struct flock, 64 bits
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, wanted)


def _blank(path: Path, length: int) -> None:
    """Take its meaning from a file that was left: SQLite would believe an old log."""
    with path.open("r+b", buffering=0) as file:
        if file.seek(0, os.SEEK_END):
            file.seek(0)
            file.write(bytes(length))
            os.fsync(file.fileno())
