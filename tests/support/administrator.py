"""What an administrator does to a volume's header with stock cryptsetup, and what is left of it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.transfer import run

KEYSLOTS_AREA = slice(32768, 1024 * 1024)
QUICK = ("--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000")
# A number larger than a float can hold, and text that is not ASCII: it is to come back as it was.
CLEVIS = r'{"type":"clevis","keyslots":["0"],"jwe":{"n":9007199254740993,"é/":"\u00e9 \"","f":1.5}}'


def cryptsetup(*words: object) -> str:
    return run("cryptsetup", "--batch-mode", *words)


def add_passphrase(file: Path, dek: bytes, directory: Path) -> Path:
    """An emergency passphrase, in keyslot 0; returns the file it is in."""
    key, passphrase = directory / "dek", directory / "passphrase"
    key.write_bytes(dek)
    passphrase.write_text("in an emergency")
    by_key = ("--volume-key-file", key, "--key-size", "512")
    cryptsetup("luksAddKey", *QUICK, *by_key, file, passphrase)
    key.unlink()
    return passphrase


def do_everything(file: Path, dek: bytes, directory: Path) -> Path:
    """A passphrase, and all else there is: keyslots, digests, tokens, priorities, labels."""
    passphrase = add_passphrase(file, dek, directory)
    second = directory / "second"
    second.write_text("another one")
    by_passphrase = ("--key-file", passphrase)
    cryptsetup("luksAddKey", *QUICK, *by_passphrase, file, second)
    unbound = ("--unbound", "--key-slot", "5", "--key-size", "256")
    cryptsetup("luksAddKey", *QUICK, *unbound, file, second)
    cryptsetup("config", "--priority", "prefer", "--key-slot", "1", file)
    cryptsetup("config", "--label", "rescue é", "--subsystem", "storage", file)
    token = directory / "token"
    token.write_text(CLEVIS)
    cryptsetup("token", "import", "--json-file", token, file)
    cryptsetup("token", "add", "--key-description", "of the kernel", file)
    return passphrase


@contextmanager
def taken(file: Path) -> Iterator[None]:
    """In the hands of cryptsetup, or of a server that no record knows."""
    with file.open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class NotOurs:
    """All of a header that evsd did not put there, as cryptsetup reads it."""

    area: dict[str, Any]  # the JSON, without what is ours to change
    labels: list[str]
    keyslots: bytes


def not_ours(file: Path) -> NotOurs:
    area = json.loads(cryptsetup("luksDump", "--dump-json-metadata", file))
    del area["segments"]["0"]["size"]
    area["tokens"]["0"].pop("settled", None)
    dump = cryptsetup("luksDump", file).splitlines()
    with file.open("rb") as stream:
        keyslots = stream.read(KEYSLOTS_AREA.stop)[KEYSLOTS_AREA]
    labels = [line for line in dump if line.startswith(("Label:", "Subsystem:", "UUID:"))]
    return NotOurs(area, labels, keyslots)


def rewritten(file: Path, change: Callable[[dict[str, Any]], object], **ours: int) -> None:
    """Change the JSON of both copies where cryptsetup would not, with right checksums.

    `ours` are 64-bit numbers of the first token.
    """
    fd = os.open(file, os.O_RDWR)
    for at in (0, 16384):
        copy = bytearray(os.pread(fd, 16384, at))
        area = json.loads(copy[4096:].rstrip(b"\0"))
        change(area)
        area["tokens"].get("0", {}).update({name: str(value) for name, value in ours.items()})
        copy[4096:] = json.dumps(area).encode().ljust(12288, b"\0")
        copy[448:512] = bytes(64)
        copy[448:480] = hashlib.sha256(copy).digest()
        os.pwrite(fd, copy, at)
    os.close(fd)
