"""LUKS files that are imported: where their payload is, and reading LUKS2.

qemu-img reads LUKS1. Nothing here reads LUKS2 without device-mapper, so its payload is decrypted
by us, with the key that cryptsetup prints for the passphrase.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from evsd.images.cryptsetup import XTS, cryptsetup
from evsd.images.damage import COPY_AGAIN, Damage, too_short
from evsd.images.errors import ImageError, ToolFailed
from evsd.images.file import SECTOR, ImageFile
from evsd.images.memory_file import fd_path
from nbd_plugin import luks2

READ_LENGTH = 64 * 1024
_BINARY_HEADER = 4096
_PHDR = struct.Struct(">6sH32s32s32sII")  # of LUKS1, as far as the key's length
_SLOT = struct.Struct(">II32sII")
_SLOTS, _SLOT_COUNT, _ACTIVE = 208, 8, 0x00AC71F3


@dataclass(frozen=True, slots=True)
class Payload:
    """The encrypted part of a file; lengths in bytes."""

    offset: int
    size: int
    sector_size: int
    first_tweak: int


def is_luks2(image: ImageFile) -> bool:
    """Whether it has the second version of the header."""
    return image.read(6, 2) == b"\0\2"


def check_passphrase(image: ImageFile, secret: int) -> None:
    """Refuse a passphrase that opens no slot; `secret` is a descriptor."""
    _cryptsetup(image, "open", "--test-passphrase", secret=secret)


def payload(image: ImageFile) -> tuple[Payload, list[Damage]]:
    """Where the payload of a LUKS2 file is, and what is missing of it; refuses what has none."""
    metadata = _metadata(image)
    own = _own_volume(image, metadata)
    segments = list(metadata["segments"].values())
    required = metadata["config"].get("requirements", {}).get("mandatory", [])
    if len(segments) != 1 or required:
        reason = ", ".join(required) or "it has several segments"
        raise ImageError(image.path, f"can't be read without device-mapper: {reason}")
    [segment] = segments
    encryption = segment.get("encryption")
    if segment["type"] != "crypt" or encryption != XTS or "integrity" in segment:
        raise ImageError(image.path, f"is encrypted by {encryption}: only {XTS} is read")
    offset, sector = int(segment["offset"]), int(segment["sector_size"])
    _refuse_overlap(image, offset, _end_of_header(metadata))
    size = None if segment["size"] == "dynamic" else int(segment["size"])
    if own is not None and size is not None:
        size = min(size, own.settled)  # behind that an extension had not been finished
    where = Payload(offset, size or 0, sector, int(segment["iv_tweak"]))
    return _within(image, where, fixed=size is not None)


def luks1_damage(image: ImageFile) -> list[Damage]:
    """What is missing of a LUKS1 file; refuses one without a payload."""
    _, _, _, _, _, payload_at, key_length = _PHDR.unpack(image.read(0, _PHDR.size))
    end = _SLOTS + _SLOT_COUNT * _SLOT.size
    slots = image.read(_SLOTS, _SLOT_COUNT * _SLOT.size)
    for active, _, _, material, stripes in _SLOT.iter_unpack(slots):
        if active == _ACTIVE:
            end = max(end, material * SECTOR + stripes * key_length)
    offset = payload_at * SECTOR
    _refuse_overlap(image, offset, end)
    return _within(image, Payload(offset, 0, SECTOR, 0), fixed=False)[1]


def decrypted(image: ImageFile, where: Payload, secret: int) -> Iterator[tuple[int, bytes]]:
    """The plaintext of a LUKS2 file, piece by piece and each with its offset."""
    cipher = algorithms.AES(_volume_key(image, secret))
    for start in range(0, where.size, READ_LENGTH):
        wanted = min(READ_LENGTH, where.size - start)
        data = image.read(where.offset + start, wanted)
        if len(data) != wanted:
            raise ImageError(image.path, "became shorter while it was read")
        yield start, b"".join(_sectors(cipher, data, where, start))


def _metadata(image: ImageFile) -> dict[str, Any]:
    metadata: dict[str, Any] = json.loads(_cryptsetup(image, "luksDump", "--dump-json-metadata"))
    return metadata


def _cryptsetup(image: ImageFile, *words: str, secret: int | None = None) -> str:
    key = [] if secret is None else [f"--key-file={fd_path(secret)}"]
    descriptors = [image.descriptor] + ([] if secret is None else [secret])
    path = fd_path(image.descriptor)
    try:
        return cryptsetup(*words, *key, path, descriptors=descriptors)
    except ToolFailed as error:
        said = str(error).replace(path, str(image.path))
        raise ImageError(image.path, f"can't be read as LUKS: {said}", COPY_AGAIN) from error


def refuse_own_volume(image: ImageFile) -> None:
    """Refuse an evsd volume's own file that no passphrase opens as stock LUKS.

    One that an administrator gave a keyslot is read, if the volume is thick. In a thin one zeros
    are zeros, and not ciphertext as other readers have it.
    """
    try:
        header = luks2.read(image.descriptor)
    except luks2.HeaderError:
        return
    if header.thin or not _metadata(image)["keyslots"]:
        raise ImageError(
            image.path,
            f"is the file of volume {header.uuid} itself, its key is wrapped by a KMS",
            "evsctl recover registers it",
        )


def _own_volume(image: ImageFile, metadata: dict[str, Any]) -> luks2.Header | None:
    if not metadata["tokens"]:
        return None
    try:
        return luks2.read(image.descriptor)
    except luks2.HeaderError:
        return None


def _end_of_header(metadata: dict[str, Any]) -> int:
    config = metadata["config"]
    copies = 2 * (_BINARY_HEADER + int(config["json_size"]))
    areas = [slot["area"] for slot in metadata["keyslots"].values()]
    ends = [int(area["offset"]) + int(area["size"]) for area in areas]
    return max([copies + int(config["keyslots_size"]), *ends])


def _refuse_overlap(image: ImageFile, offset: int, end_of_header: int) -> None:
    """Refuse a payload that is elsewhere, or where the header is."""
    if offset == 0 or offset == end_of_header == image.length:
        raise ImageError(
            image.path,
            "is a detached LUKS header: the encrypted data are in another file",
            "open them together and import what is in them: "
            f"cryptsetup open --header {image.quoted} DATA NAME",
        )
    if offset < end_of_header:
        raise ImageError(
            image.path,
            f"has a damaged LUKS header: data at byte {offset:,}, "
            f"where header and keyslots go on to {end_of_header:,}",
            "restore the header from a backup: cryptsetup luksHeaderRestore",
        )


def _within(image: ImageFile, where: Payload, *, fixed: bool) -> tuple[Payload, list[Damage]]:
    """The part of a payload that is in the file, and what is missing of it."""
    held = image.length - where.offset
    if held <= 0:
        raise ImageError(
            image.path,
            f"holds a LUKS header and no data: they would begin at byte "
            f"{where.offset:,}, it has {image.length:,}",
            "it was cut, or it is a detached header or a backup of one: import the whole file",
        )
    size = where.size if fixed else held
    needed = where.offset + -(-size // where.sector_size) * where.sector_size
    whole = min(size, held) // where.sector_size * where.sector_size
    found = [too_short(image.length, needed)] if needed > image.length else []
    return Payload(where.offset, whole, where.sector_size, where.first_tweak), found


def _sectors(
    cipher: algorithms.AES, data: bytes, where: Payload, start: int
) -> Iterator[bytes]:  # fmt: skip
    for at in range(0, len(data), where.sector_size):
        # plain64 counts in 512-byte units, whatever the sector size.
        tweak = where.first_tweak + (start + at) // 512
        decryptor = Cipher(cipher, modes.XTS(tweak.to_bytes(16, "little"))).decryptor()
        yield decryptor.update(data[at : at + where.sector_size])


def _volume_key(image: ImageFile, secret: int) -> bytes:
    dumped = _cryptsetup(image, "luksDump", "--dump-volume-key", secret=secret)
    found = re.search(r"MK dump:((?:\s+[0-9a-f]{2})+)", dumped)
    if found is None:
        raise ImageError("cryptsetup", "does not give the volume key")
    return bytes.fromhex("".join(found[1].split()))
