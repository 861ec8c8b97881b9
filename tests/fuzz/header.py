"""The header's parser on arbitrary bytes: it refuses them or gives a header, nothing else."""

from __future__ import annotations

import hashlib
import os
from typing import Any

from nbd_plugin import luks2

OURS = ("tokens", "segments")
COPY = 16384
AREA = 4096  # where the JSON begins


def with_right_checksums(data: bytes) -> bytes:
    """Both copies of a header, whose checksums match: else nothing behind them would be reached."""
    copies = bytearray(data[: 2 * COPY].ljust(2 * COPY, b"\0"))
    for start in (0, COPY):
        copy = copies[start : start + COPY]
        copy[448:512] = bytes(64)
        copy[448:480] = hashlib.sha256(copy).digest()
        copies[start : start + COPY] = copy
    return bytes(copies)


def run(data: bytes) -> None:
    """The first byte chooses: the file as it is, with checksums mended, or only its JSON given."""
    kind, data = data[:1], data[1:]
    if kind == b"J":
        valid = bytearray(seeds()["thin"][1:])
        for start in (0, COPY):
            valid[start + AREA : start + COPY] = data[: COPY - AREA].ljust(COPY - AREA, b"\0")
        data = bytes(valid)
    if kind in (b"J", b"C"):
        data = with_right_checksums(data)
    fd = os.memfd_create("header")
    try:
        os.write(fd, data)
        check(fd)
    finally:
        os.close(fd)


def check(fd: int) -> None:
    """What `read` promises, and that whatever it accepts can be written and read again."""
    try:
        header = luks2.read(fd)
    except luks2.HeaderError as error:
        refusal = str(error)
        assert refusal.isprintable()
        return
    assert header.size > 0
    assert header.size % luks2.SECTOR_SIZE == 0
    assert len(header.digest) == 32
    try:
        luks2.write(fd, header._replace(sequence=min(header.sequence + 1, 2**64 - 1)))
    except luks2.HeaderError:  # what fits only in a shorter spelling
        return
    written = luks2.read(fd)
    assert written._replace(sequence=0) == header._replace(sequence=0)
    assert not_ours(written) == not_ours(header)


def not_ours(header: luks2.Header) -> dict[str, Any]:
    """The JSON but for the objects in which evsd changes something."""
    assert header.area is not None
    return {name: value for name, value in header.area.items() if name not in OURS}


def seeds() -> dict[str, bytes]:
    """Valid headers of either kind."""
    made = {}
    for thin in (True, False):
        fd = os.memfd_create("seed")
        header = luks2.Header(
            uuid="bdc8d257-290d-4a92-a8a4-0a832a365e96",
            label="seed",
            size=1 << 30,
            thin=thin,
            wrapped_dek=b"w" * 188,
            cmk_id="0a832a36-290d-4a92-a8a4-bdc8d2575e96",
            cmk_version=3,
            context={"project": "p"},
            digest_salt=b"s" * 32,
            digest_iterations=1000,
            digest=b"d" * 32,
            sequence=1,
        )
        luks2.write(fd, header)
        made["thin" if thin else "thick"] = b"C" + os.pread(fd, 2 * COPY, 0)
        os.close(fd)
    area = made["thin"][1 + AREA : 1 + COPY].rstrip(b"\0")
    return made | {"json": b"J" + area}
