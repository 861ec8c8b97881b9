"""The volume's side of a copy: an NBD export on a unix socket, named by its URI."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

from evsd.connector.writing import write_data
from evsd.images.tools import Progress


def socket_of(uri: str) -> Path:
    """The unix socket in an NBD URI of evsd's."""
    return Path(uri.partition("?socket=")[2])


def uri_of(socket: Path) -> str:
    """The URI of the export on a unix socket."""
    return f"nbd+unix:///?socket={quote(str(socket))}"


def write_sparse(
    uri: str, pieces: Iterable[tuple[int, bytes]], size: int, progress: Progress
) -> None:
    """Write pieces of a disk of `size` bytes, each with its offset, but for those of zeros.

    The export reads as zeros before. What was written is flushed at the end; raises OSError.
    """
    write_data(socket_of(uri), _not_zero(pieces, size, progress))


def flush(uri: str) -> None:
    """Make sure that what another program has written is on disk; raises OSError.

    qemu-img drops the result of its own last flush, but a server of ours keeps a failure.
    """
    write_data(socket_of(uri), [])


def _not_zero(
    pieces: Iterable[tuple[int, bytes]], size: int, progress: Progress
) -> Iterator[tuple[int, bytes]]:
    for offset, piece in pieces:
        if piece.count(0) != len(piece):
            yield offset, piece
        progress(100 * offset // size)
