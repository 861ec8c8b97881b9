"""What `qemu-img check` lets pass in a qcow2 image: a file that ends inside its last cluster.

It has to, as writers need not fill that one. Whether anything is missing only the tables tell:
they themselves must be whole, and so must a compressed cluster, whose length they round up.
"""

from __future__ import annotations

import contextlib
import struct
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from evsd.images import tools
from evsd.images.damage import Damage, too_short
from evsd.images.errors import ToolFailed
from evsd.images.file import SECTOR, Image
from evsd.images.memory_file import memory_file

_OFFSET = ((1 << 56) - 1) & ~((1 << 9) - 1)
_COMPRESSED = 1 << 62
_EXTENDED_L2 = 1 << 4
_ZLIB = 0


@dataclass(frozen=True, slots=True)
class _Layout:
    cluster: int
    cluster_bits: int
    l1_offset: int
    l1_entries: int
    entry_words: int  # an entry of a second-level table has a second one with extended L2
    compression: int


def damage(image: Image) -> list[Damage]:
    """What is missing at the end of an image that `qemu-img check` finds whole."""
    layout = _layout(image)
    if layout is None:
        return []
    tables = _table_offsets(image, layout)
    end = layout.l1_offset + 8 * layout.l1_entries
    end = max([end, *(table + layout.cluster for table in tables)])
    if end > image.length:
        return [too_short(image.length, end)]
    for offset, last_sector in _compressed_at_the_end(image, layout, tables):
        if last_sector >= image.length or not _inflates(image, layout, offset):
            return [too_short(image.length, max(last_sector, image.length) + 1)]
    return []


def _layout(image: Image) -> _Layout | None:
    head = image.read(0, 112).ljust(112, b"\0")
    magic, version, _, _, bits, _, _, entries, l1 = struct.unpack_from(">4sIQIIQIIQ", head)
    if magic != b"QFI\xfb" or not 9 <= bits <= 21 or entries > 1 << 22:
        return None  # nothing that qemu-img opens
    features, length = struct.unpack_from(">Q", head, 72)[0], struct.unpack_from(">I", head, 100)[0]
    if version < 3:
        features = length = 0
    words = 2 if features & _EXTENDED_L2 else 1
    return _Layout(1 << bits, bits, l1, entries, words, head[104] if length > 104 else _ZLIB)


def _words(image: Image, offset: int, length: int) -> array[int]:
    """Big-endian numbers of 64 bits; what lies behind the file's end is left out."""
    data = image.read(offset, length)
    numbers = array("Q", data[: len(data) // 8 * 8])
    numbers.byteswap()
    return numbers


def _table_offsets(image: Image, layout: _Layout) -> list[int]:
    entries = _words(image, layout.l1_offset, 8 * layout.l1_entries)
    return [entry & _OFFSET for entry in entries if entry & _OFFSET]


def _compressed_at_the_end(
    image: Image, layout: _Layout, tables: list[int]
) -> Iterator[tuple[int, int]]:
    """Compressed clusters that may end behind the file: where each begins, and its last sector."""
    split = 62 - (layout.cluster_bits - 8)
    for table in tables:
        entries = _words(image, table, layout.cluster)[:: layout.entry_words]
        for entry in entries:
            if entry & _COMPRESSED:
                offset = entry & ((1 << split) - 1)
                sectors = (entry & (_COMPRESSED - 1)) >> split
                last = (offset // SECTOR + sectors) * SECTOR
                if last + SECTOR > image.length:
                    yield offset, last


def _inflates(image: Image, layout: _Layout, offset: int) -> bool:
    """Whether what there is of a cluster is all of it."""
    data = image.read(offset, 2 * layout.cluster)
    inflate = _by_zlib if layout.compression == _ZLIB else _by_zstd
    return len(inflate(data, layout.cluster)) == layout.cluster


def _by_zlib(data: bytes, length: int) -> bytes:
    try:
        return zlib.decompressobj(-15).decompress(data, length)
    except zlib.error:
        return b""


def _by_zstd(data: bytes, length: int) -> bytes:
    made = b""
    # zstd fails by what is behind the cluster.
    with memory_file(data) as descriptor, contextlib.suppress(ToolFailed):
        for piece in tools.stream(["zstd", "-dcq"], length, stdin=descriptor):
            made += piece
    return made
