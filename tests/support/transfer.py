"""Independent oracles for volumes and files: qemu-img, cryptsetup, `cryptography`."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.support.daemon import Evsd, temporary_state

MIB, GIB = 2**20, 2**30


def run(*words: object) -> str:
    """Run a tool that must succeed; returns what it printed."""
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


def identical(first: Path, second: object, second_format: str = "raw") -> bool:
    """Whether two images have the same content; what only one has must be zeros."""
    words = ["qemu-img", "compare", "-f", "raw", "-F", second_format, str(first), str(second)]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


@contextmanager
def attached(evsd: Evsd, volume: str) -> Iterator[str]:
    """The volume's URI, for the block."""
    yield evsd.ok("attach", volume, "--transport", "uri")
    evsd.ok("detach", volume)


def opens(file: Path, passphrase: Path) -> bool:
    """Whether stock cryptsetup finds a slot for the passphrase."""
    words = ["cryptsetup", "open", "--test-passphrase", "--key-file", str(passphrase), str(file)]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def holes(file: Path, start: int) -> int:
    """How many sectors of 4096 bytes from `start` on are zeros in the file."""
    with file.open("rb") as stream:
        stream.seek(start)
        return sum(sector == bytes(4096) for sector in iter(lambda: stream.read(4096), b""))


def luks_segment(file: Path) -> dict[str, Any]:
    """The one segment of a LUKS2 file, as cryptsetup reads it."""
    metadata = json.loads(run("cryptsetup", "luksDump", "--dump-json-metadata", file))
    [segment] = metadata["segments"].values()
    return dict(segment)


def volume_key(file: Path, passphrase: Path) -> bytes:
    """A LUKS file's key, as cryptsetup gives it for the passphrase."""
    dump = run("cryptsetup", "luksDump", "-q", "--dump-volume-key", "--key-file", passphrase, file)
    found = re.search(r"MK dump:((?:\s+[0-9a-f]{2})+)", dump)
    assert found is not None
    return bytes.fromhex("".join(found[1].split()))


def decrypted(file: Path, passphrase: Path, target: Path) -> None:
    """Write the plaintext of a LUKS2 file to `target`, from what cryptsetup says of it."""
    segment = luks_segment(file)
    cipher = algorithms.AES(volume_key(file, passphrase))
    length = segment["sector_size"]
    with file.open("rb") as stream, target.open("wb") as plain:
        stream.seek(int(segment["offset"]))
        for number, sector in enumerate(iter(lambda: stream.read(length), b"")):
            tweak = (number * length // 512).to_bytes(16, "little")
            data = Cipher(cipher, modes.XTS(tweak)).decryptor().update(sector)
            if any(data):
                plain.seek(number * length)
                plain.write(data)
        plain.truncate(stream.tell() - int(segment["offset"]))


def image(path: Path, data_mib: int = 2, size: int = 100 * MIB + 1536) -> Path:
    """A raw image with data near its beginning and in its last sector, and holes elsewhere."""
    block = os.urandom(MIB)
    with path.open("wb") as file:
        file.truncate(size)
        file.seek(MIB)
        for _ in range(data_mib):
            file.write(block)
        file.seek(size - 512)
        file.write(os.urandom(512))
    return path


@contextmanager
def small_pool(mib: int) -> Iterator[tuple[Path, Path]]:
    """A pool of so many MiB in memory: its directory, and a configuration for evsd."""
    with temporary_state() as directory:
        pool, config = directory / "pool", directory / "evsd.toml"
        pool.mkdir()
        run("mount", "-t", "tmpfs", "-o", f"size={mib}m", "none", pool)
        config.write_text(f'pool = "{pool}"\n')
        try:
            yield pool, config
        finally:
            run("umount", pool)
