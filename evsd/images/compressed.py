"""Raw images that are compressed: gzip, xz, bzip2, zstd.

How large the disk is only the end of the stream tells, and that it is whole only its checksum. So
it is read twice: to count and verify, and, when there is a volume, to write. Nothing is unpacked
to disk.
"""

from __future__ import annotations

import bz2
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from evsd.images import tools
from evsd.images.errors import ToolFailed
from evsd.images.file import HEAD_LENGTH, SECTOR, ImageFile
from evsd.images.tools import Progress

PIECE = 1 << 20
_INPUT = 1 << 18
COMMANDS = {"gzip": "gzip -dc", "xz": "xz -dc", "bzip2": "bzip2 -dc", "zstd": "zstd -dc"}
LARGEST = 1 << 50
"""A stream that becomes larger is none of a disk."""


class Broken(Exception):
    """The stream ends too early or is damaged; the message goes on after the file's name."""


class _Decoder(Protocol):
    """One stream of a file, which may have several; as `lzma` and `bz2` have it."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes:
        """No more than `max_length` of what follows; the rest of `data` is kept."""


class _Gzip:
    """zlib in the same manner."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(31)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        made = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        self.needs_input = len(made) < max_length and not self._zlib.unconsumed_tail
        return made


_DECODERS: dict[str, Callable[[], _Decoder]] = {
    "gzip": _Gzip,
    "xz": lzma.LZMADecompressor,
    "bzip2": bz2.BZ2Decompressor,
}


@dataclass(frozen=True, slots=True)
class Content:
    """What a stream holds; if it is broken, what could be read of it."""

    size: int
    head: bytes
    tail: bytes
    broken: str | None


def content(image: ImageFile, compression: str, progress: Progress) -> Content:
    """Read all of it."""
    size, head, tail, broken = 0, b"", b"", None
    try:
        for piece in pieces(image, compression):
            size += len(piece)
            head += piece[: HEAD_LENGTH - len(head)]
            tail = (tail + piece)[-SECTOR:]
            progress(100 * os.lseek(image.descriptor, 0, os.SEEK_CUR) // image.length)
            if size > LARGEST:
                raise Broken(f"holds more than {LARGEST:,} bytes")
    except Broken as error:
        broken = str(error)
    return Content(size, head, tail, broken)


def pieces(image: ImageFile, compression: str) -> Iterator[bytes]:
    """What the stream holds, in pieces of `PIECE` but the last.

    Raises `Broken` behind the last piece that can be read.
    """
    gathered, broken = bytearray(), None
    try:
        for made in _decompressed(image, compression):
            gathered += made
            while len(gathered) >= PIECE:
                yield bytes(gathered[:PIECE])
                del gathered[:PIECE]
    except Broken as error:
        broken = error
    if gathered:
        yield bytes(gathered)
    if broken is not None:
        raise broken


def _decompressed(image: ImageFile, compression: str) -> Iterator[bytes]:
    os.lseek(image.descriptor, 0, os.SEEK_SET)
    if compression == "zstd":
        return _by_zstd(image)
    return _streams(image, _DECODERS[compression])


def _by_zstd(image: ImageFile) -> Iterator[bytes]:
    words = ["zstd", "-dcq", "--long=31"]  # as much memory as a stream may ask for
    try:
        yield from tools.stream(words, PIECE, stdin=image.descriptor)
    except ToolFailed as error:
        raise Broken(f"is damaged or ends too early: {error}") from error


def _streams(image: ImageFile, decoder: Callable[[], _Decoder]) -> Iterator[bytes]:
    """All streams of a file, one behind the other, as the compressors' own tools read them."""
    rest = os.read(image.descriptor, _INPUT)
    while rest:
        stream = decoder()
        try:
            yield from _stream(image, stream, rest)
        except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:
            if isinstance(error, OSError) and error.errno:
                raise  # of the file, not of what is in it
            raise Broken(f"is damaged: {error}") from error
        rest = _next(image, stream.unused_data)


def _stream(image: ImageFile, stream: _Decoder, data: bytes) -> Iterator[bytes]:
    while not stream.eof:
        if made := stream.decompress(data, PIECE):
            yield made
        data = b""
        if stream.needs_input and not stream.eof:
            data = os.read(image.descriptor, _INPUT)
            if not data:
                raise Broken("ends too early: the compressed stream is cut")


def _next(image: ImageFile, data: bytes) -> bytes:
    """The beginning of the next stream; zeros between them and at the end are padding."""
    while not (data := data.lstrip(b"\0")):
        if not (data := os.read(image.descriptor, _INPUT)):
            break
    return data
