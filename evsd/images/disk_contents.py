"""How large a disk is by what is on it: partition tables and filesystems name their own length.

A disk that is shorter than what is on it was cut, whatever the file round it says.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

from evsd.images.damage import COPY_AGAIN, Damage

_PARTITIONS = range(446, 510, 16)
_PROTECTIVE = 0xEE
_FILESYSTEM_IN_BOOT_SECTOR = ((3, b"NTFS    "), (3, b"EXFAT   "), (54, b"FAT"), (82, b"FAT32"))


def _number(head: bytes, offset: int, form: str) -> int:
    return int(struct.unpack_from(form, head, offset)[0])


def _gpt(head: bytes) -> int | None:
    for sector in (512, 4096):
        header = head[sector : 2 * sector]
        if not header.startswith(b"EFI PART"):
            continue
        length = min(_number(header, 12, "<I"), len(header))
        sealed = header[:16] + bytes(4) + header[20:length]
        if zlib.crc32(sealed) == _number(header, 16, "<I"):
            return (_number(header, 32, "<Q") + 1) * sector  # the second copy is its last sector
    return None


def _mbr(head: bytes) -> int | None:
    if head[510:512] != b"\x55\xaa" or any(
        head.startswith(name, at) for at, name in _FILESYSTEM_IN_BOOT_SECTOR
    ):
        return None
    entries = [head[at : at + 16] for at in _PARTITIONS]
    used = [entry for entry in entries if entry[4]]
    if not used or any(entry[0] not in (0, 0x80) for entry in entries):
        return None
    ends = [
        _number(entry, 8, "<I") + _number(entry, 12, "<I")
        for entry in used
        if entry[4] != _PROTECTIVE
    ]
    return max(ends, default=0) * 512


def _ext(head: bytes) -> int | None:
    if head[1080:1082] != b"\x53\xef" or head[1048] > 6:
        return None
    blocks = _number(head, 1028, "<I")
    if _number(head, 1120, "<I") & 0x80:  # the feature 64bit
        blocks += _number(head, 1360, "<I") << 32
    return blocks * (1024 << head[1048])


def _xfs(head: bytes) -> int | None:
    return _number(head, 4, ">I") * _number(head, 8, ">Q") if head[:4] == b"XFSB" else None


def _ntfs(head: bytes) -> int | None:
    if head[3:11] != b"NTFS    ":
        return None
    return _number(head, 0x28, "<Q") * _number(head, 0x0B, "<H")


def _fat(head: bytes) -> int | None:
    if head[510:512] != b"\x55\xaa" or not (head[54:57] == b"FAT" or head[82:87] == b"FAT32"):
        return None
    sectors = _number(head, 0x13, "<H") or _number(head, 0x20, "<I")
    return sectors * _number(head, 0x0B, "<H")


def _swap(head: bytes) -> int | None:
    if head[4086:4096] != b"SWAPSPACE2":
        return None
    return (_number(head, 1028, "<I") + 1) * 4096


_CONTENTS: tuple[tuple[str, Callable[[bytes], int | None]], ...] = (
    ("a GPT partition table", _gpt),
    ("an MBR partition table", _mbr),
    ("an ext filesystem", _ext),
    ("an XFS filesystem", _xfs),
    ("an NTFS filesystem", _ntfs),
    ("a FAT filesystem", _fat),
    ("a swap area", _swap),
)
_NEEDED = 8192  # the furthest that any of these looks


def _found(head: bytes) -> tuple[str, int] | None:
    """What is on a disk, and how many bytes it takes; `head` is how the disk begins."""
    head = head.ljust(_NEEDED, b"\0")
    for name, length in _CONTENTS:
        try:
            needed = length(head)
        except struct.error:  # numbers in it lead out of what was read
            continue
        if needed is not None:
            return name, needed
    return None


def content(head: bytes) -> str | None:
    """The name of what is on a disk."""
    found = _found(head)
    return None if found is None else found[0]


def cut(head: bytes, size: int) -> list[Damage]:
    """The damage of a disk of `size` bytes that is too small for what is on it."""
    found = _found(head)
    if found is None or found[1] <= size:
        return []
    name, needed = found
    return [
        Damage(
            f"holds a disk of {size:,} bytes with {name}, which is of a disk of {needed:,}: "
            "it was cut",
            COPY_AGAIN,
        )
    ]
