"""Room on filesystems: how much there is, what its lack is called, and keeping some for later.

Blocks that are allocated to a file beyond its end are nobody else's: a file that grows into them
can't be refused. That is how what must always go on (detach, delete, disable) has its room, on a
filesystem that a volume has filled to the last byte.
"""

from __future__ import annotations

import ctypes
import errno
import os
import tempfile
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

# What a filesystem says that takes no more: it is full, or its user's quota is, or it is read-only.
FULL_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT})
REFUSALS = FULL_ERRORS | {errno.EROFS}

MIB = 1024**2
# A filesystem counts as full before its last byte: what is left is for its own use, or for a
# write so small that the next one fails.
FULL_BYTES, FULL_SHARE = 16 * MIB, 0.02
_FALLOC_FL_KEEP_SIZE = 1
_PROBE_BYTES = 64 * 1024

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


class Level(StrEnum):
    """How a filesystem is off for space."""

    OK = "ok"
    LOW = "low"
    FULL = "full"
    READ_ONLY = "read-only"


@dataclass(frozen=True, slots=True)
class Space:
    """A filesystem's space, in bytes, as evsd's user can have it; a total of 0 is without limit."""

    total: int
    free: int
    files_left: bool  # whether another file can be made
    read_only: bool

    @property
    def used(self) -> int:
        """What is taken, also by others and by the filesystem itself."""
        return self.total - self.free

    def level(self, low_percent: float) -> Level:
        """`LOW` where less than so many percent are free."""
        if self.read_only:
            return Level.READ_ONLY
        if not self.total:
            return Level.OK
        if not self.files_left or self.free < min(FULL_BYTES, self.total * FULL_SHARE):
            return Level.FULL
        return Level.LOW if self.free * 100 < self.total * low_percent else Level.OK

    def __str__(self) -> str:
        """In words, for messages."""
        return f"{in_words(self.free)} of {in_words(self.total)} free"


def look(file: Path | int) -> Space:
    """The space of the filesystem that holds a path, or an open file; raises OSError."""
    status = os.statvfs(file)
    return Space(
        total=status.f_blocks * status.f_frsize,
        free=status.f_bavail * status.f_frsize,
        files_left=not status.f_files or status.f_favail > 0,
        read_only=bool(status.f_flag & os.ST_RDONLY),
    )


def refusal(directory: Path) -> OSError | None:
    """Why no file can grow in a directory, asked by trying; None where one can, or who knows."""
    try:
        with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
            file.write(bytes(_PROBE_BYTES))
    except OSError as error:
        return error if error.errno in REFUSALS else None
    return None


def reserve(fd: int, length: int) -> bool:
    """Have a file's first `length` bytes allocated, its size stays; False if there is no room.

    Where the filesystem can't do that, there is nothing to be had: True.
    """
    if os.fstat(fd).st_blocks * 512 >= length:  # a full xfs refuses what it has given already
        return True
    if _libc.fallocate(fd, _FALLOC_FL_KEEP_SIZE, 0, length) == 0:
        return True
    return ctypes.get_errno() not in REFUSALS


def in_words(count: int) -> str:
    """Bytes as people say them: 12 KiB, 3.5 GiB."""
    number, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
    while number >= 1024 and len(units) > 1:
        number /= 1024
        units.pop(0)
    decimals = 1 if number < 10 and units[0] != "B" else 0
    return f"{number:.{decimals}f} {units[0]}"
