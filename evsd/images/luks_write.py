"""Writing LUKS files without device-mapper: stock cryptsetup makes and opens all headers.

cryptsetup makes a LUKS1 header with a new volume key, qemu-img encrypts into it, and
cryptsetup turns it into LUKS2 and gives it the user's passphrase. Until then it has a random one
of 256 bits, so the few iterations of its slot are no weakness. Neither the volume's data key nor
the new one passes through here, and nothing of the plaintext touches the disk.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from evsd.images import tools
from evsd.images.cryptsetup import XTS, cryptsetup
from evsd.images.memory_file import fd_path, memory_file
from evsd.images.tools import Progress

LUKS1_PAYLOAD = 2 * 1024 * 1024  # 4096 sectors: cryptsetup's own default, room for 8 slots


def encrypt(uri: str, size: int, file: Path, passphrase: bytes, progress: Progress) -> None:
    """Copy what `uri` exports, `size` bytes, into `file` as a stock LUKS2 file."""
    os.truncate(file, LUKS1_PAYLOAD + size)
    with memory_file(_random_passphrase()) as first, memory_file(passphrase) as last:
        key = f"--key-file={fd_path(first)}"
        cryptsetup(
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
                *("--object", f"secret,id=s,file={fd_path(first)}"),
                *(uri, "--target-image-opts", target),
            ],
            progress,
            descriptors=[first],
        )
        cryptsetup("convert", "--type=luks2", str(file))
        cryptsetup("luksChangeKey", key, str(file), fd_path(last), descriptors=[first, last])


def _random_passphrase() -> bytes:
    """One that nobody is told, for the time the file is being made."""
    return secrets.token_hex(32).encode()


def _option(file: Path) -> str:
    """A file name as a qemu option takes it."""
    return str(file.absolute()).replace(",", ",,")
