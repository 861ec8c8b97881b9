"""What qemu-img lets pass in a VHDX: tables behind the end of the file, which read as zeros."""

from __future__ import annotations

import struct

from evsd.images.damage import Damage, too_short
from evsd.images.file import SECTOR, Image

_TABLES = (192 * 1024, 256 * 1024)
_HEAD = struct.Struct("<4sIII")
_ENTRY = struct.Struct("<16sQII")
_MOST_ENTRIES = 2047


def damage(image: Image) -> list[Damage]:
    """What is missing at its end."""
    needed = max((end for at in _TABLES for end in _ends(image, at)), default=0)
    # qemu-img counts in whole sectors: of one that was cut it misses nothing.
    needed = max(needed, -(-image.length // SECTOR) * SECTOR)
    return [too_short(image.length, needed)] if needed > image.length else []


def _ends(image: Image, at: int) -> list[int]:
    """Where the regions of the file end."""
    data = image.read(at, 64 * 1024)
    if len(data) < 64 * 1024:
        return [at + 64 * 1024]
    magic, _, count, _ = _HEAD.unpack_from(data)
    if magic != b"regi" or count > _MOST_ENTRIES:
        return []  # qemu-img reads the other one, or refuses both
    entries = (_ENTRY.unpack_from(data, _HEAD.size + n * _ENTRY.size) for n in range(count))
    return [offset + length for _, offset, length, _ in entries]
