"""Copying what an NBD URI exports into a file or a stream."""

from __future__ import annotations

import os
from pathlib import Path

from evsd.images import luks_write, tools
from evsd.images.errors import ImageError
from evsd.images.tools import Progress

EXPORT_FORMATS = ("raw", "qcow2", "luks2")
_PIECE = 1 << 20


def export_file(
    uri: str, size: int, file: Path, file_format: str, progress: Progress, *, passphrase: bytes
) -> None:
    """Write a disk of `size` bytes to a file that is there; the passphrase is for luks2."""
    if file_format == "luks2":
        luks_write.encrypt(uri, size, file, passphrase, progress)
        return
    words = ["qemu-img", "convert", "-p", "-t", "writeback", "-f", "raw", "-O", file_format]
    tools.copy([*words, uri, str(file.absolute())], progress)


def export_stream(uri: str, size: int, descriptor: int, progress: Progress, *, name: str) -> None:
    """Write a disk of `size` bytes, in order, and nothing else; errors call it by `name`."""
    written = 0
    # By way of us: on a file nbdcopy would write anywhere at once, not one after the other.
    for piece in tools.stream(["nbdcopy", uri, "-"], _PIECE):
        _write(descriptor, piece)
        written += len(piece)
        progress(100 * written // size)
    if written != size:
        raise ImageError(name, "was not read to its end")


def _write(descriptor: int, data: bytes) -> None:
    while data:  # unbuffered: what can't be written is not tried again at the very end
        data = data[os.write(descriptor, data) :]
