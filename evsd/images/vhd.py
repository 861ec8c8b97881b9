"""VHD, for which qemu-img has no check, and whose size it takes from the wrong field.

A file ends with a footer, and a dynamic one begins with a copy of it. qemu-img is content with
the copy, and reads the size of files of some programs from the geometry, which can't express
every size: the end of the disk was lost. The size is what the footer calls the current one.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass

from evsd.images.damage import Damage, too_short
from evsd.images.errors import ImageError
from evsd.images.file import SECTOR, Image

_FOOTER = struct.Struct(">8sIIQI4sIIQQ4sII16sB")
_HEADER = struct.Struct(">8sQQIIII")
_CHECKSUM = slice(64, 68)
_HEADER_CHECKSUM = slice(36, 40)
_FIXED, _DYNAMIC, _DIFFERENCING = 2, 3, 4
_NO_BLOCK = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class _Footer:
    data: bytes
    header: int
    size: int
    disk: int

    @property
    def valid(self) -> bool:
        return _has_checksum(self.data, _CHECKSUM)


def damage(image: Image) -> list[Damage]:
    """What is missing or contradicts itself; refuses a disk that needs another one."""
    footer, copy = _footer(image.tail), _footer(image.read(0, SECTOR))
    known = footer or copy
    if known is None:
        return [Damage("does not end with a VHD's footer: it is no VHD, or it was cut")]
    if known.disk == _DIFFERENCING:
        raise ImageError(
            image.path,
            "needs another file, its parent; such images are refused",
            "merge them and import the result: Merge-VHD, or VBoxManage clonemedium",
        )
    if known.disk not in (_FIXED, _DYNAMIC):
        return [Damage(f"is a VHD of an unknown type, {known.disk}")]
    if footer is None:
        return [Damage("ends too early: its last 512 bytes are not the footer it begins with")]
    if not footer.valid:
        return [Damage("has a damaged footer: its checksum does not match")]
    if footer.disk == _FIXED:
        return _of_fixed(image, footer)
    return _of_dynamic(image, footer, copy)


def _of_fixed(image: Image, footer: _Footer) -> list[Damage]:
    held = image.length - SECTOR
    if held == footer.size:
        return []
    return [
        Damage(f"contradicts itself: its footer says {footer.size:,} bytes, before it are {held:,}")
    ]


def _of_dynamic(image: Image, footer: _Footer, copy: _Footer | None) -> list[Damage]:
    if copy is None or copy.data != footer.data:
        return [Damage("contradicts itself: its footer is not the copy it begins with")]
    header = image.read(footer.header, 1024)
    if (
        len(header) < 1024
        or header[:8] != b"cxsparse"
        or not _has_checksum(header, _HEADER_CHECKSUM)
    ):
        return [Damage("has a damaged header")]
    _, _, table, _, entries, block, _ = _HEADER.unpack_from(header)
    end = image.length - SECTOR
    if table + 4 * entries > end:
        return [too_short(image.length, table + 4 * entries + SECTOR)]
    if block < SECTOR or entries * block < footer.size:
        return [Damage("contradicts itself: its table is too small for its size")]
    return _of_blocks(image, _blocks(image, table, entries), block, footer.size)


def _blocks(image: Image, table: int, entries: int) -> array[int]:
    blocks = array("I", image.read(table, 4 * entries))
    blocks.byteswap()
    return blocks


def _of_blocks(image: Image, blocks: array[int], block: int, size: int) -> list[Damage]:
    bitmap = -(-block // SECTOR // 8 // SECTOR) * SECTOR
    used = [at for at in blocks if at != _NO_BLOCK]
    needed = max(used, default=0) * SECTOR + bitmap + block + SECTOR
    if used and needed > image.length:
        return [too_short(image.length, needed)]
    beyond = blocks[-(-size // block) :]
    if any(at != _NO_BLOCK for at in beyond):
        return [Damage(f"contradicts itself: it has data behind its size of {size:,} bytes")]
    return []


def _footer(data: bytes) -> _Footer | None:
    if len(data) < SECTOR or not data.startswith(b"conectix"):
        return None
    fields = _FOOTER.unpack_from(data)
    return _Footer(data, header=fields[3], size=fields[9], disk=fields[11])


def _has_checksum(data: bytes, checksum: slice) -> bool:
    total = sum(data) - sum(data[checksum])
    return ~total & 0xFFFFFFFF == int.from_bytes(data[checksum], "big")
