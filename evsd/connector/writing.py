"""Writing to an NBD export without a device: data, or zeros that the server makes itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from evsd.connector.nbd import Export, handshake
from evsd.connector.requests import (
    DISCONNECT,
    FLUSH,
    REPLY_TIMEOUT_S,
    REQUEST_LENGTH,
    WRITE,
    WRITE_ZEROES,
    receive,
    send,
)

# As many requests under way as a server of ours has threads.
WINDOW = 4


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
                send(export, WRITE_ZEROES, asked, length)
                asked, under_way = asked + length, under_way + 1
            done += receive(export)
            under_way -= 1
            written(done - start)


def write_data(socket: Path, pieces: Iterable[tuple[int, bytes]]) -> None:
    """Write pieces, each with its offset in bytes, and flush. Raises as `write_zeros` does."""
    with _connected(socket) as export:
        for offset, piece in pieces:
            send(export, WRITE, offset, len(piece), piece)
            receive(export)


class Writer:
    """A connection to write in order, what is zero left out: the export reads as zeros before.

    For one thread at a time. Raises as `write_zeros` does.
    """

    def __init__(self, socket: Path) -> None:
        self._stack = ExitStack()
        self._export = self._stack.enter_context(_connected(socket))

    def write(self, offset: int, piece: bytes) -> None:
        """A piece of any length."""
        if piece.count(0) != len(piece):
            send(self._export, WRITE, offset, len(piece), piece)
            receive(self._export)

    def finish(self) -> None:
        """What was written is on disk."""
        self._stack.close()

    def abandon(self) -> None:
        """Nobody needs it."""
        self._export.sock.close()


@contextmanager
def _connected(socket: Path) -> Iterator[Export]:
    """One connection; what was written is on disk at the end of the block."""
    export = handshake(socket)
    with export.sock:
        export.sock.settimeout(REPLY_TIMEOUT_S)
        yield export
        send(export, FLUSH)
        receive(export)
        send(export, DISCONNECT)
