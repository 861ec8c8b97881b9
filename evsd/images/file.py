"""The file that is imported: opened once, looked at by descriptor, and the same to the end."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from evsd.images.errors import ImageError
from evsd.images.memory_file import memory_file

SECTOR = 512
HEAD_LENGTH = 128 * 1024  # whatever tells what a file is stands in it, or in the last sector


@dataclass(frozen=True, slots=True)
class Image:
    """An open file; `length` in bytes."""

    path: Path
    descriptor: int
    length: int
    changed_at: int  # its mtime, in ns
    closed_with_it: ExitStack

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

    def keep(self, passphrase: bytes) -> int:
        """A descriptor by which tools read the passphrase, for as long as the image is open."""
        return self.closed_with_it.enter_context(memory_file(passphrase))

    def changed(self) -> ImageError:
        """That it was written while it was read: it has never been what was copied."""
        return ImageError(
            self.path,
            "was changed while it was imported",
            "let what writes it end, a virtual machine or a download, and import it again",
        )

    def refuse_changed(self) -> None:
        """Refuse a file that is not what it was when it was opened."""
        status = os.fstat(self.descriptor)
        if (status.st_size, status.st_mtime_ns) != (self.length, self.changed_at):
            raise self.changed()


@contextmanager
def open_image(path: Path) -> Iterator[Image]:
    """The image at this path, for the block; refuses what is no regular file, raises OSError."""
    # Not blocking: a FIFO is refused, not waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with ExitStack() as stack:
        stack.callback(os.close, descriptor)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(path, "is not a regular file")
        if status.st_size == 0:
            raise ImageError(path, "is empty")
        yield Image(path, descriptor, status.st_size, status.st_mtime_ns, stack)
