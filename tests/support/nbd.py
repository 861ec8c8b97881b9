"""NBD clients of the tests: qemu-io and libnbd, and stock tools on a volume's file."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.support import libnbd

DATA_OFFSET = 1024 * 1024
SECTOR = 4096


def qemu_io(uri: str, *commands: str, read_only: bool = False) -> subprocess.CompletedProcess[str]:
    """Run qemu-io commands on an export."""
    words = [word for command in commands for word in ("-c", command)]
    return subprocess.run(
        ["qemu-io", *(["-r"] if read_only else []), "-f", "raw", *words, uri],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def works(uri: str, *commands: str, read_only: bool = False) -> None:
    """The commands succeed, and every pattern is the expected one."""
    done = qemu_io(uri, *commands, read_only=read_only)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert "failed" not in output.lower(), output


@contextmanager
def connected(uri: str) -> Iterator[Any]:
    """A libnbd handle with one connection."""
    handle = libnbd.load().NBD()
    handle.connect_uri(uri)
    try:
        yield handle
    finally:
        if not (handle.aio_is_dead() or handle.aio_is_closed()):  # its server has ended
            handle.shutdown()


def decrypted_sector(file: Path, dek: bytes, number: int) -> bytes:
    """One 4096-byte sector of a volume's file, by `cryptography`'s AES-XTS and dm-crypt's tweak."""
    with file.open("rb") as stream:
        stream.seek(DATA_OFFSET + number * SECTOR)
        ciphertext = stream.read(SECTOR)
    tweak = (number * SECTOR // 512).to_bytes(16, "little")
    decryptor = Cipher(algorithms.AES(dek), modes.XTS(tweak)).decryptor()
    return decryptor.update(ciphertext) + decryptor.finalize()


def exported_token(file: Path) -> dict[str, Any]:
    """Our token in a volume's header, read by stock cryptsetup."""
    done = subprocess.run(
        ["cryptsetup", "token", "export", "--token-id", "0", file],
        capture_output=True,
        text=True,
        check=True,
    )
    token: dict[str, Any] = json.loads(done.stdout)
    return token
