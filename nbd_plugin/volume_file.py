"""The file of a volume, or of one of its layers: its header, and who else has it."""

from __future__ import annotations

import errno
import fcntl

from nbd_plugin import luks2
from nbd_plugin.errors import ServerError
from nbd_plugin.layers import truncation


def lock(fd: int, read_only: bool) -> None:
    """Two servers of one file would undo each other's writes inside a sector."""
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if read_only else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno != errno.EWOULDBLOCK:
            raise ServerError(f"the volume can't be locked: {error.strerror}") from None
        raise ServerError("another server is serving this volume", errno.EBUSY) from None


def read_header(fd: int) -> luks2.Header:
    """The header of a whole volume; raises `ServerError` for a broken or truncated one."""
    try:
        header = luks2.read(fd)
        missing = truncation(fd, header)
    except luks2.HeaderError as error:
        raise ServerError(f"the volume is refused: {error}") from None
    except OSError as error:
        raise ServerError(f"the volume can't be read: {error.strerror}") from None
    if missing:
        raise ServerError(f"the volume is {missing}")
    return header
