"""The file that is imported: opened once, looked at by descriptor, and the same to the end."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from evsd.cli.errors import Refused

SECTOR = 512
HEAD_LENGTH = 128 * 1024  # whatever tells what a file is stands in it, or in the last sector


@dataclass(frozen=True, slots=True)
class Image:
    """An open file; `length` in bytes."""

    path: Path
    descriptor: int
    length: int
    changed_at: int  # its mtime, in ns

    def read(self, offset: int, length: int) -> bytes:
        """What there is of it at this place; less where the file ends."""
        found = b""
        while part := os.pread(self.descriptor, length - len(found), offset + len(found)):
            found += part
        return found

    @property
    def tail(self) -> bytes:
        """Its last 512 bytes, where some formats have their mark."""
        return self.read(max(0, self.length - SECTOR), SECTOR)

    @property
    def quoted(self) -> str:
        """Its name as the shell takes it."""
        return shlex.quote(str(self.path))

    def changed(self) -> Refused:
        """That it was written while it was read: it has never been what was copied."""
        return Refused(
            "",
            f"{self.path} was changed while it was imported",
            "let what writes it end, a virtual machine or a download, and import it again",
        )

    def refuse_changed(self) -> None:
        """Refuse a file that is not what it was when it was opened."""
        status = os.fstat(self.descriptor)
        if (status.st_size, status.st_mtime_ns) != (self.length, self.changed_at):
            raise self.changed()


@contextmanager
def opened(path: Path) -> Iterator[Image]:
    """The image at this path; refuses what is no regular file."""
    try:
        # Not blocking: a FIFO is refused, not waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise Refused("", f"{path}: {error.strerror}", "") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Refused("", f"{path} is not a regular file", "")
        if status.st_size == 0:
            raise Refused("", f"{path} is empty", "")
        yield Image(path, descriptor, status.st_size, status.st_mtime_ns)
    finally:
        os.close(descriptor)
