"""What qemu-img lets pass in a sparse VMDK: tables behind the end of the file read as zeros.

In a stream-optimised one the table of tables may stand at the end, and each grain is compressed
and has its length before it.
"""

from __future__ import annotations

import re
import struct
from array import array
from dataclasses import dataclass

from evsd.images.damage import Damage, not_closed, too_short
from evsd.images.errors import ImageError
from evsd.images.file import SECTOR, Image

_HEADER = struct.Struct("<4sIIQQQQIQQQB4sH")
_AT_THE_END = 2**64 - 1
_COMPRESSED = 1 << 16
_NEWLINES_COUNT = 1
_NEWLINES = b"\n \r\n"
_NO_GRAIN = (0, 1)  # not there, and zeros
_MARKER = struct.Struct("<QI")
_NO_PARENT = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class _Header:
    flags: int
    capacity: int  # in sectors, as all the following
    grain: int
    descriptor: int
    descriptor_length: int
    table_entries: int
    directory: int
    unclean: bool
    newlines: bytes

    @property
    def compressed(self) -> bool:
        return bool(self.flags & _COMPRESSED)


def damage(image: Image) -> list[Damage]:
    """What is missing or contradicts itself; refuses what is not all of a disk."""
    header = _header(image, 0)
    if header is None or not header.capacity or b"createType" not in _text(image, header):
        raise ImageError(
            image.path,
            "is a part of a VMDK disk: the rest is in other files",
            "convert the disk: qemu-img convert -f vmdk -O qcow2 DESCRIPTOR.vmdk NEW",
        )
    found = _contradictions(image, header)
    if header.directory == _AT_THE_END:
        footer = _header(image, image.length - 2 * SECTOR)
        if footer is None or footer.directory == _AT_THE_END:
            return [*found, Damage("ends too early: its last 1,024 bytes hold no footer")]
        header = footer
    if not header.grain or not header.table_entries:
        return [*found, Damage("has a damaged header")]
    needed = _needed(image, header)
    return [*found, too_short(image.length, needed)] if needed > image.length else found


def refuse_delta(image: Image, parent: int) -> None:
    """Refuse a disk that holds only what differs from another one, named or not."""
    if parent != _NO_PARENT:
        raise ImageError(
            image.path,
            "is a snapshot and needs another file, its parent; such images are refused",
            "consolidate the snapshots of the machine and import the disk",
        )


def _header(image: Image, offset: int) -> _Header | None:
    data = image.read(max(0, offset), _HEADER.size)
    if len(data) < _HEADER.size or data[:4] != b"KDMV":
        return None
    fields = _HEADER.unpack(data)
    _, _, flags, capacity, grain, text, length, entries, _, directory, _, unclean, new, _ = fields
    return _Header(flags, capacity, grain, text, length, entries, directory, bool(unclean), new)


def _text(image: Image, header: _Header) -> bytes:
    """The descriptor in it."""
    return image.read(header.descriptor * SECTOR, min(header.descriptor_length, 2048) * SECTOR)


def _contradictions(image: Image, header: _Header) -> list[Damage]:
    found = []
    if header.unclean:
        found.append(not_closed())
    if header.flags & _NEWLINES_COUNT and header.newlines != _NEWLINES:
        found.append(Damage("was damaged by a transfer as text", "copy it again in binary mode"))
    text = _text(image, header)
    extents = [int(length) for length in re.findall(rb"(?m)^RW (\d+) ", text)]
    if extents and sum(extents) != header.capacity:
        found.append(
            Damage(
                f"contradicts itself: {header.capacity:,} sectors by its header, "
                f"{sum(extents):,} by its descriptor"
            )
        )
    return found


def _needed(image: Image, header: _Header) -> int:
    """Where the last table or compressed grain ends; in bytes."""
    spanned = header.grain * header.table_entries
    directory_length = 4 * -(-header.capacity // spanned)
    tables = [at for at in _words(image, header.directory * SECTOR, directory_length) if at]
    table_length = 4 * header.table_entries
    ends = [header.directory * SECTOR + directory_length]
    ends += [at * SECTOR + table_length for at in tables]
    if max(ends) <= image.length and header.compressed:
        grains = (_words(image, at * SECTOR, table_length) for at in tables)
        last = max((at for table in grains for at in table if at not in _NO_GRAIN), default=0)
        ends.append(_end_of_grain(image, last * SECTOR))
    return max(ends)


def _end_of_grain(image: Image, offset: int) -> int:
    marker = image.read(offset, _MARKER.size)
    if len(marker) < _MARKER.size:
        return offset + _MARKER.size
    return offset + _MARKER.size + int(_MARKER.unpack(marker)[1])


def _words(image: Image, offset: int, length: int) -> array[int]:
    """Little-endian numbers of 32 bits; what lies behind the file's end is left out."""
    data = image.read(offset, length)
    return array("I", data[: len(data) // 4 * 4])
