"""Files in memory: what a tool reads by descriptor, and is on no disk and in no argument."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def memory_file(content: bytes = b"") -> Iterator[int]:
    """The descriptor of one, at its beginning; gone after the block."""
    descriptor = os.memfd_create("evsd", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


def fd_path(descriptor: int) -> str:
    """A path by which a tool that inherits the descriptor opens the same file."""
    return f"/proc/self/fd/{descriptor}"
