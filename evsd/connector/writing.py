"""Writing to an NBD export without a device: data, or zeros that the server makes itself."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from evsd.connector.nbd import Export, handshake

# As many requests under way as a server of ours has threads. Each of 4 MiB, so that whoever
# wants to stop the writing is heard often.
WINDOW, REQUEST_LENGTH = 4, 4 << 20
REPLY_TIMEOUT_S = 120.0

_REQUEST = struct.Struct(">IHHQQI")
_REPLY = struct.Struct(">IIQ")
_REQUEST_MAGIC, _REPLY_MAGIC = 0x25609513, 0x67446698
_WRITE, _DISCONNECT, _FLUSH, _WRITE_ZEROES = 1, 2, 3, 6
_NO_HOLE = 1 << 1


def write_zeros(socket: Path, start: int, end: int, written: Callable[[int], None]) -> None:
    """Write zeros, no holes, from `start` to `end` (bytes) of the export, and flush.

    `written` hears how many bytes are done; what it raises ends the writing. Raises
    `ConnectorError` where the server can't be reached, OSError with what it could not do.
    """
    with _connected(socket) as export:
        asked = done = start
        under_way = 0
        while done < end:
            while under_way < WINDOW and asked < end:
                length = min(REQUEST_LENGTH, end - asked)
                _send(export, _WRITE_ZEROES, asked, length)
                asked, under_way = asked + length, under_way + 1
            done += _receive(export)
            under_way -= 1
            written(done - start)


def write_data(socket: Path, pieces: Iterable[tuple[int, bytes]]) -> None:
    """Write pieces, each with its offset in bytes, and flush. Raises as `write_zeros` does."""
    with _connected(socket) as export:
        for offset, piece in pieces:
            _send(export, _WRITE, offset, len(piece), piece)
            _receive(export)


@contextmanager
def _connected(socket: Path) -> Iterator[Export]:
    """One connection; what was written is on disk at the end of the block."""
    export = handshake(socket)
    with export.sock:
        export.sock.settimeout(REPLY_TIMEOUT_S)
        yield export
        _send(export, _FLUSH)
        _receive(export)
        _send(export, _DISCONNECT)


def _send(
    export: Export, command: int, offset: int = 0, length: int = 0, data: bytes = b""
) -> None:  # fmt: skip
    flags = _NO_HOLE if command == _WRITE_ZEROES else 0
    # The cookie, which comes back with the reply, is the length: all that is asked of a reply.
    request = _REQUEST.pack(_REQUEST_MAGIC, flags, command, length, offset, length)
    export.sock.sendall(request + data)


def _receive(export: Export) -> int:
    reply = b""
    while len(reply) < _REPLY.size:
        part = export.sock.recv(_REPLY.size - len(reply))
        if not part:
            raise ConnectionResetError("the volume's server has ended")
        reply += part
    magic, error, length = _REPLY.unpack(reply)
    if magic != _REPLY_MAGIC:
        raise ConnectionError("the volume's server broke the protocol")
    if error:
        raise OSError(error, os.strerror(error))
    return int(length)
