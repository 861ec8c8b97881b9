"""A pool of files in one directory: `<volume id>.luks`, header first, sparse data behind it.

The file itself says how far an operation on it came, whatever the records say: they may be from a
backup. `.unfinished` never had its header; `.deleting` was given up; and in a header, what is
behind its `settled` bytes is being added, so it can be thrown away and nothing else can.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

import structlog

from evsd.durable import sync
from evsd.pools.pool import (
    HeaderInvalid,
    Pool,
    PoolError,
    PoolFull,
    PoolReadOnly,
    SizeDiffers,
    Untouched,
    VolumeBusy,
    VolumeMissing,
)
from evsd.space import FULL_ERRORS, look
from nbd_plugin import luks2

WHOLE, UNFINISHED, GIVEN_UP = ".luks", ".unfinished", ".deleting"
LAYER, HIDDEN = ".layer", ".hidden"  # of snapshots, and of those that were deleted: evsd.layers
LEFT_OVER = (UNFINISHED, GIVEN_UP)

log = structlog.get_logger()


P = ParamSpec("P")
R = TypeVar("R")


def translated(error: OSError | luks2.HeaderError) -> PoolError:
    """What the filesystem, or the header's reader, says, in the words of pools."""
    if isinstance(error, luks2.HeaderError):
        return HeaderInvalid(str(error))
    said = error.strerror or str(error)
    if isinstance(error, FileNotFoundError):
        return VolumeMissing(said)
    if isinstance(error, BlockingIOError):
        return VolumeBusy(said)
    if error.errno in FULL_ERRORS:
        return PoolFull(said)
    return PoolReadOnly(said) if error.errno == errno.EROFS else PoolError(said)


def raises_pool_errors(method: Callable[P, R]) -> Callable[P, R]:
    """For methods that work on files: what these refuse leaves as a `PoolError`."""

    @functools.wraps(method)
    def work(*args: P.args, **named: P.kwargs) -> R:
        try:
            return method(*args, **named)
        except (OSError, luks2.HeaderError) as error:
            raise translated(error) from error

    return work


class FilePool(Pool):
    """Files on a filesystem."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def place(self) -> Path:
        """The directory."""
        return self.directory

    def path(self, volume_id: str) -> Path:
        """Where the volume's file is."""
        return self.directory / f"{volume_id}{WHOLE}"

    @raises_pool_errors
    def create(self, header: luks2.Header) -> None:
        """Make a volume's file: there whole, on disk, or not at all.

        A thick one has all its space, and no ciphertext yet: nothing of it is settled.
        """
        unfinished = self._unfinished(header.uuid)
        fd = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            lengthen(fd, header)
            luks2.write(fd, header)
            os.fsync(fd)
        finally:
            os.close(fd)
        unfinished.rename(self.path(header.uuid))
        sync(self.directory)

    @raises_pool_errors
    def grow(self, volume_id: str, before: int, size: int, *, again: bool = False) -> int:
        """Begin to make a volume of `before` bytes one of `size`; `settle` or `shrink` ends it.

        Returns where the new part begins: at `size` if that is settled already, as it may be
        `again`, after a try that was interrupted or failed. The file grows before the header says
        so, and one good copy of that is always there. Raises `Untouched` by what keeps it from
        beginning: by `SizeDiffers`, too, where the file says that it is not what the caller takes
        it for: a record from an old backup must not cut off data.
        """
        with ExitStack() as stack:
            try:
                fd = stack.enter_context(self._writing(volume_id))
            except OSError as error:
                raise Untouched(translated(error)) from error
            grown = _grown(fd, volume_id, before, size, again=again)
            if grown is None:
                return size
            lengthen(fd, grown)
            os.fsync(fd)
            luks2.write(fd, grown)
            return grown.settled

    @raises_pool_errors
    def grow_served(self, volume_id: str, before: int, size: int) -> None:
        """Make a thin volume of `before` bytes one of `size`, while a server may have it.

        The server holds the lock, which keeps cryptsetup away from the header; it reads that when
        its first client comes, and of two copies one is good at every moment. What the file has
        behind a header that could not be written is nobody's.
        """
        fd = os.open(self.path(volume_id), os.O_RDWR | os.O_CLOEXEC)
        try:
            header = _grown(fd, volume_id, before, size, again=True)
            if header is not None:
                lengthen(fd, header)
                os.fsync(fd)
                luks2.write(fd, header._replace(settled=size))
        finally:
            os.close(fd)

    @raises_pool_errors
    def settle(self, volume_id: str) -> None:
        """Note that what `create` or `grow` added is whole, and on disk."""
        with self._writing(volume_id) as fd:
            header = luks2.read(fd)
            if header.settled < header.size:
                whole = header._replace(settled=header.size, sequence=header.sequence + 1)
                luks2.write(fd, whole)

    @raises_pool_errors
    def shrink(self, volume_id: str) -> int:
        """Take back what `grow` added, or began to add, and is not settled; returns the size."""
        with self._writing(volume_id) as fd:
            header = luks2.read(fd)
            size = header.settled
            if header.size != size:
                luks2.write(fd, header._replace(size=size, sequence=header.sequence + 1))
            os.ftruncate(fd, luks2.DATA_OFFSET + size)
            os.fsync(fd)
            return size

    @contextmanager
    def _writing(self, volume_id: str) -> Iterator[int]:
        """The volume's file, which no server may have open meanwhile."""
        with unserved(self.path(volume_id), os.O_RDWR) as fd:
            yield fd

    @raises_pool_errors
    def delete(self, volume_id: str) -> None:
        """Remove the volume's file, and whatever an interrupted `create` or `delete` left of it.

        The wrapped key is overwritten first, and keyslots that an administrator added: blocks
        freed by a filesystem can be found again. And before that the file gets another name, so
        that one is never taken for a volume which has lost its header.
        """
        self._unfinished(volume_id).unlink(missing_ok=True)
        path, given_up = self.path(volume_id), self._given_up(volume_id)
        if path.exists():
            # A server that no record knows of has its clients' data in this file.
            with unserved(path, os.O_RDONLY):
                _rename_or_unlink(path, given_up)
        destroy(given_up)

    @raises_pool_errors
    def names(self) -> set[str]:
        """The names of all files of volumes, whole or not; what is of layers is not among them."""
        return {
            path.name
            for path in self.directory.iterdir()
            if path.suffix in (WHOLE, *LEFT_OVER) and Path(path.stem).suffix not in (LAYER, HIDDEN)
        }

    def is_left_over(self, name: str) -> bool:
        """Whether an interrupted operation has left a file of this name."""
        return name.endswith(LEFT_OVER)

    @raises_pool_errors
    def whole(self, volume_id: str) -> luks2.Header | None:
        """The header of a volume that was whole once: that there is nothing of another is certain.

        None for a file that isn't there.
        """
        try:
            header = self.header(volume_id)
        except VolumeMissing:
            return None
        return header if header.settled else None

    @raises_pool_errors
    def header(self, volume_id: str) -> luks2.Header:
        """What the volume's file says of itself."""
        fd = os.open(self.path(volume_id), os.O_RDONLY | os.O_CLOEXEC)
        try:
            return luks2.read(fd)
        finally:
            os.close(fd)

    @raises_pool_errors
    def header_area(self, volume_id: str) -> bytes:
        """All of a volume's file before its data: a header, and the keyslots that belong to it.

        Read until it is twice the same, for cryptsetup may be writing to it.
        """
        fd = os.open(self.path(volume_id), os.O_RDONLY | os.O_CLOEXEC)
        try:
            before = b""
            while (area := _read_area(fd)) != before:
                before = area
            luks2.read(fd)  # a damaged one is worth nothing
        finally:
            os.close(fd)
        return area

    @raises_pool_errors
    def restore_header(self, header: luks2.Header, keyslots: bytes, size: int) -> None:
        """Write a header from a backup, and what belongs behind its two copies.

        The volume has `size` bytes; if its file's own header says more, as after an extension that
        was interrupted, that counts. The keyslots first: whatever interrupts this, a header whose
        keyslots aren't there is never the newer one, and the data key is in every one.
        """
        with self._writing(header.uuid) as fd:
            settled, size = _extent(fd, header.uuid, size)
            if os.fstat(fd).st_size < luks2.DATA_OFFSET + size:
                raise luks2.HeaderError("its file is shorter than the volume")
            _require_same_layer(fd, header)
            newest = max(header.sequence, luks2.newest_sequence(fd))
            restored = header._replace(size=size, settled=settled, sequence=newest + 1)
            luks2.write_all(fd, keyslots, luks2.HEADER_LENGTH)
            os.fsync(fd)
            luks2.write(fd, restored)

    @raises_pool_errors
    def unused_header(self, volume_id: str) -> luks2.Header:
        """What a whole file that no server has open says of itself.

        Follows no link, and opens nothing but a regular file.
        """
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        with unserved(self.path(volume_id), flags) as fd:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise luks2.HeaderError("it is not a regular file")
            header = luks2.read(fd)
            if status.st_size < luks2.DATA_OFFSET + header.size:
                raise luks2.HeaderError("it is truncated")
            return header

    def _unfinished(self, volume_id: str) -> Path:
        return self.directory / f"{volume_id}{UNFINISHED}"

    def _given_up(self, volume_id: str) -> Path:
        return self.directory / f"{volume_id}{GIVEN_UP}"


def _grown(fd: int, volume_id: str, before: int, size: int, *, again: bool) -> luks2.Header | None:
    """The header that a volume of `before` bytes is to have; None where it is settled already.

    Raises `Untouched`.
    """
    try:
        header = luks2.read(fd)
        if header.uuid != volume_id:
            raise luks2.HeaderError(f"it is the file of volume {header.uuid}")
    except (OSError, luks2.HeaderError) as error:
        raise Untouched(translated(error)) from error
    expected = before <= header.settled <= (size if again else before)
    if not expected or header.size > size:
        raise Untouched(SizeDiffers(header.settled, before))
    if header.settled == size:
        return None
    return header._replace(size=size, sequence=header.sequence + 1)


def _read_area(fd: int) -> bytes:
    """What is before the data, as far as the file goes."""
    area = b""
    while part := os.pread(fd, luks2.DATA_OFFSET - len(area), len(area)):
        area += part
    return area


def _extent(fd: int, volume_id: str, size: int) -> tuple[int, int]:
    """How much of a volume is settled, and its size, if its header can't be an older one's."""
    with suppress(OSError, luks2.HeaderError):
        header = luks2.read(fd)
        if header.uuid == volume_id and header.settled >= size:
            return header.settled, header.size
    return size, size


def _require_same_layer(fd: int, header: luks2.Header) -> None:
    """Without its parent a layer would read as zeros what is below it."""
    with suppress(OSError):
        try:
            own = luks2.read(fd)
        except luks2.HeaderError:
            return
        layers = [(each.own_layer, each.parent_layer_id) for each in (own, header)]
        if own.uuid == header.uuid and layers[0] != layers[1]:
            raise luks2.HeaderError("it is of a time when the volume had other snapshots")


def lengthen(fd: int, header: luks2.Header) -> None:
    """Room for the volume; a thick one's is taken now, so that a full pool is noticed now."""
    length = luks2.DATA_OFFSET + header.size
    if header.thin:
        os.ftruncate(fd, length)
    else:
        # Asked first: to allocate all there is would fail the writes of others before it fails.
        if length - os.fstat(fd).st_blocks * 512 > look(fd).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.posix_fallocate(fd, 0, length)


@contextmanager
def unserved(path: Path, flags: int) -> Iterator[int]:
    """A file that no server has open before the block ends; raises `BlockingIOError`."""
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(
                error.errno, "its file is in the hands of a server, or of cryptsetup"
            ) from error
        yield fd
    finally:
        os.close(fd)


def _rename_or_unlink(path: Path, given_up: Path) -> None:
    """Rename it; where a full filesystem has no room for the longer name, remove it at once."""
    try:
        path.rename(given_up)
    except OSError as error:
        if error.errno not in FULL_ERRORS:
            raise
        log.warning("wrapped key not overwritten", file=path.name, reason=str(error))
        path.unlink()


def discard(path: Path) -> None:
    """Remove a layer that nothing stands on, its wrapped key first; after a crash, finish it.

    Raises `BlockingIOError` while a server has it, OSError.
    """
    given_up = path.with_name(f"{path.name}{GIVEN_UP}")
    with unserved(path, os.O_RDONLY):
        _rename_or_unlink(path, given_up)
    destroy(given_up)


def destroy(given_up: Path) -> None:
    """Remove what got the name of something given up; nothing happens where it is gone."""
    sync(given_up.parent)
    if given_up.exists():
        _overwrite_header(given_up)
        given_up.unlink(missing_ok=True)
        sync(given_up.parent)


def _overwrite_header(path: Path) -> None:
    # Only what has blocks, and what create() wrote first: a full pool must be able to delete.
    # And where even that fails, removing the file matters more.
    try:
        with path.open("r+b") as file:
            parts = [(0, luks2.HEADER_LENGTH)]
            parts += data_in(file.fileno(), luks2.HEADER_LENGTH, luks2.DATA_OFFSET)
            for start, end in parts:
                file.seek(start)
                file.write(bytes(end - start))
                file.flush()
                os.fsync(file.fileno())
    except OSError as error:
        log.warning("wrapped key not overwritten", file=path.name, reason=str(error))


def data_in(fd: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The parts of a file between two offsets that are no holes; raises OSError."""
    while start < end:
        try:
            first = os.lseek(fd, start, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing more up to the file's end
                return
            raise
        start = os.lseek(fd, first, os.SEEK_HOLE)
        if first < end:
            yield first, min(start, end)
