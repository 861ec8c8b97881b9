"""LUKS files without device-mapper: stock cryptsetup writes and opens all headers.

Export: cryptsetup makes a LUKS1 header with a new volume key, qemu-img encrypts into it, and
cryptsetup turns it into LUKS2 and gives it the user's passphrase. Until then it has a random one
of 256 bits, so the few iterations of its slot are no weakness. Neither the volume's data key nor
the new one passes through here, and nothing of the plaintext touches the disk.

Import: qemu-img reads LUKS1. Neither it nor cryptsetup reads LUKS2 without device-mapper, so its
payload is decrypted here, with the key that cryptsetup prints for the passphrase.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from evsd.cli import tools
from evsd.cli.errors import Refused
from evsd.cli.secrets import hidden, passing
from evsd.cli.tools import Progress, by_descriptor

LUKS1_PAYLOAD = 2 * 1024 * 1024  # 4096 sectors: cryptsetup's own default, room for 8 slots
NO_SUCH_KEY = 2  # cryptsetup's exit status for a wrong passphrase
READ_LENGTH = 64 * 1024
XTS = "aes-xts-plain64"


def encrypt(uri: str, size: int, file: Path, passphrase: bytes, progress: Progress) -> None:
    """Copy what `uri` exports, `size` bytes, into `file` as a stock LUKS2 file."""
    os.truncate(file, LUKS1_PAYLOAD + size)
    with hidden(passing()) as first, hidden(passphrase) as last:
        key = f"--key-file={by_descriptor(first)}"
        _cryptsetup(
            "luksFormat",
            "--type=luks1",
            f"--cipher={XTS}",
            "--key-size=512",
            "--hash=sha256",
            f"--align-payload={LUKS1_PAYLOAD // 512}",
            "--pbkdf-force-iterations=1000",
            key,
            str(file),
            descriptors=[first],
        )
        target = f"driver=luks,key-secret=s,file.driver=file,file.filename={_option(file)}"
        tools.copy(
            [
                *("qemu-img", "convert", "-n", "-p", "-t", "writeback", "-f", "raw"),
                *("--object", f"secret,id=s,file={by_descriptor(first)}"),
                *(uri, "--target-image-opts", target),
            ],
            progress,
            descriptors=[first],
        )
        _cryptsetup("convert", "--type=luks2", str(file))
        new_key = by_descriptor(last)
        _cryptsetup("luksChangeKey", key, str(file), new_key, descriptors=[first, last])


def _option(file: Path) -> str:
    """A file name as a qemu option takes it."""
    return str(file.absolute()).replace(",", ",,")


def check_passphrase(source: int, secret: int) -> None:
    """Refuse a passphrase that opens no slot; `source` and `secret` are descriptors."""
    _cryptsetup(
        "open",
        "--test-passphrase",
        f"--key-file={by_descriptor(secret)}",
        by_descriptor(source),
        descriptors=[source, secret],
    )


@dataclass(frozen=True, slots=True)
class Payload:
    """The one encrypted segment of a LUKS2 file; lengths in bytes."""

    offset: int
    size: int
    sector_size: int
    first_tweak: int


def payload(source: int) -> Payload:
    """Where the payload is; refuses what can't be read here."""
    dumped = _cryptsetup(
        "luksDump", "--dump-json-metadata", by_descriptor(source), descriptors=[source]
    )
    metadata: dict[str, Any] = json.loads(dumped)
    segments = list(metadata["segments"].values())
    required = metadata["config"].get("requirements", {}).get("mandatory", [])
    if len(segments) != 1 or required:
        reason = ", ".join(required) or "it has several segments"
        raise Refused("", f"this LUKS2 file can't be read without device-mapper: {reason}", "")
    [segment] = segments
    encryption = segment.get("encryption")
    if segment["type"] != "crypt" or encryption != XTS or "integrity" in segment:
        raise Refused("", f"a LUKS2 file with {encryption} can't be read, only {XTS}", "")
    offset = int(segment["offset"])
    sector_size = int(segment["sector_size"])
    whole = (os.fstat(source).st_size - offset) // sector_size * sector_size
    size = whole if segment["size"] == "dynamic" else int(segment["size"])
    if not 0 < size <= whole:
        raise Refused("", "the LUKS2 file is truncated", "")
    return Payload(offset, size, sector_size, int(segment["iv_tweak"]))


def decrypted(source: int, where: Payload, secret: int) -> Iterator[tuple[int, bytes]]:
    """The plaintext of a LUKS2 file, piece by piece and each with its offset."""
    cipher = algorithms.AES(_volume_key(source, secret))
    for start in range(0, where.size, READ_LENGTH):
        wanted = min(READ_LENGTH, where.size - start)
        data = os.pread(source, wanted, where.offset + start)
        if len(data) != wanted:
            raise Refused("", "the LUKS file became shorter while it was read", "")
        yield start, b"".join(_sectors(cipher, data, where, start))


def _sectors(
    cipher: algorithms.AES, data: bytes, where: Payload, start: int
) -> Iterator[bytes]:  # fmt: skip
    for at in range(0, len(data), where.sector_size):
        # plain64 counts in 512-byte units, whatever the sector size.
        tweak = where.first_tweak + (start + at) // 512
        decryptor = Cipher(cipher, modes.XTS(tweak.to_bytes(16, "little"))).decryptor()
        yield decryptor.update(data[at : at + where.sector_size])


def _volume_key(source: int, secret: int) -> bytes:
    dumped = _cryptsetup(
        "luksDump",
        "--dump-volume-key",
        f"--key-file={by_descriptor(secret)}",
        by_descriptor(source),
        descriptors=[source, secret],
    )
    found = re.search(r"MK dump:((?:\s+[0-9a-f]{2})+)", dumped)
    if found is None:
        raise Refused("", "cryptsetup does not give the volume key", "")
    return bytes.fromhex("".join(found[1].split()))


def _cryptsetup(*words: str, descriptors: list[int] | None = None) -> str:
    try:
        return tools.run(["cryptsetup", "--batch-mode", *words], descriptors=descriptors or [])
    except tools.ToolFailed as error:
        if error.status == NO_SUCH_KEY:
            raise Refused("", "the passphrase opens no slot of the LUKS file", "") from error
        raise
