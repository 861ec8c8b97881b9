"""A pool of files in one directory: `<volume id>.luks`, header first, sparse data behind it."""

from __future__ import annotations

import os
from pathlib import Path

import structlog

from evsd.durable import sync
from nbd_plugin import luks2

log = structlog.get_logger()


class FilePool:
    """Files on a filesystem. Raises OSError for what the filesystem refuses."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, volume_id: str) -> Path:
        """Where the volume's file is."""
        return self.directory / f"{volume_id}.luks"

    def create(self, header: luks2.Header) -> None:
        """Make a thin volume's file: there whole, on disk, or not at all."""
        unfinished = self._unfinished(header.uuid)
        fd = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, luks2.DATA_OFFSET + header.size)
            luks2.write(fd, header)
            os.fsync(fd)
        finally:
            os.close(fd)
        unfinished.rename(self.path(header.uuid))
        sync(self.directory)

    def delete(self, volume_id: str) -> None:
        """Remove the volume's file, and whatever an interrupted `create` left of it.

        The wrapped key is overwritten first: blocks freed by a filesystem can be found again.
        """
        self._unfinished(volume_id).unlink(missing_ok=True)
        path = self.path(volume_id)
        if path.exists():
            _overwrite_header(path)
            path.unlink()
        sync(self.directory)

    def header(self, volume_id: str) -> luks2.Header:
        """What the volume's file says of itself; raises `HeaderError`, or OSError."""
        fd = os.open(self.path(volume_id), os.O_RDONLY | os.O_CLOEXEC)
        try:
            return luks2.read(fd)
        finally:
            os.close(fd)

    def _unfinished(self, volume_id: str) -> Path:
        return self.directory / f"{volume_id}.unfinished"


def _overwrite_header(path: Path) -> None:
    # Only what create() wrote, whose blocks are allocated: a full pool must be able to delete.
    # And where even that fails, removing the file matters more.
    try:
        with path.open("r+b") as file:
            file.write(bytes(luks2.HEADER_LENGTH))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        log.warning("wrapped key not overwritten", file=path.name, reason=str(error))
