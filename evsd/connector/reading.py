"""Reading from an NBD export without a device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evsd.connector.nbd import Export, handshake
from evsd.connector.requests import (
    DISCONNECT,
    READ,
    REPLY_TIMEOUT_S,
    REQUEST_LENGTH,
    receive,
    receive_data,
    send,
)


class Reader:
    """One connection, for one thread; `reader` makes them."""

    def __init__(self, export: Export) -> None:
        self._export = export

    def read(self, offset: int, length: int) -> bytes:
        """These bytes of the export; raises OSError with what the server could not do."""
        found = bytearray()
        while len(found) < length:
            piece = min(REQUEST_LENGTH, length - len(found))
            send(self._export, READ, offset + len(found), piece)
            receive(self._export)
            found += receive_data(self._export, piece)
        return bytes(found)


@contextmanager
def reader(socket: Path) -> Iterator[Reader]:
    """A connection for the block; raises `ConnectorError` where the server can't be reached."""
    export = handshake(socket)
    with export.sock:
        export.sock.settimeout(REPLY_TIMEOUT_S)
        yield Reader(export)
        send(export, DISCONNECT)
