"""A reader of volumes written from docs/format.md alone: it imports nothing of ours."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

COPY, BINARY, SECTOR = 16384, 4096, 4096
MAGICS = {0: b"LUKS\xba\xbe", COPY: b"SKUL\xba\xbe"}


class NoVolume(Exception):
    """The file is none, or asks for what this reader does not know."""


class Reader:
    """The plaintext of a volume's file, given its data key."""

    def __init__(self, path: Path, dek: bytes) -> None:
        self._file = path.open("rb")
        self._dek = dek
        header = self._header()
        segment = header["segments"]["0"]
        if (segment["encryption"], segment["sector_size"]) != ("aes-xts-plain64", SECTOR):
            raise NoVolume("another cipher")
        self._payload, self.size = int(segment["offset"]), int(segment["size"])
        self.thin = bool(self._requirements(header))  # a layer is read the same way
        self.token = self._token(header)
        self._check_key(header["digests"]["0"])

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _header(self) -> dict[str, Any]:
        good = [copy for copy in map(self._copy, MAGICS) if copy]
        if not good:
            raise NoVolume("no good copy of the header")
        for _, header in good:
            self._requirements(header)
            self._token(header)
        return max(good, key=lambda copy: copy[0])[1]

    def _copy(self, start: int) -> tuple[int, dict[str, Any]] | None:
        """(seqid, JSON) of one copy, None where it is not good."""
        self._file.seek(start)
        copy = self._file.read(COPY)
        numbers = [int.from_bytes(copy[a:b], "big") for a, b in ((6, 8), (8, 16), (256, 264))]
        if copy[:6] != MAGICS[start] or numbers != [2, COPY, start]:
            return None
        digest = hashlib.sha256(copy[:448] + bytes(64) + copy[512:]).digest()
        if copy[72:104].rstrip(b"\0") != b"sha256" or copy[448:512] != digest + bytes(32):
            return None
        text = copy[BINARY:]
        return int.from_bytes(copy[16:24], "big"), json.loads(text[: text.index(0)])

    def _requirements(self, header: dict[str, Any]) -> list[str]:
        needed: list[str] = header["config"].get("requirements", {}).get("mandatory", [])
        if set(needed) - {"evsd-thin-v1", "evsd-layer-v1"}:
            raise NoVolume("an unknown requirement")
        return needed

    def _token(self, header: dict[str, Any]) -> dict[str, Any]:
        tokens = [token for token in header["tokens"].values() if token["type"] == "evsd"]
        if len(tokens) != 1 or tokens[0]["version"] != 1:
            raise NoVolume("not one token of version 1")
        return dict(tokens[0])

    def _check_key(self, digest: dict[str, Any]) -> None:
        salt, iterations = base64.b64decode(digest["salt"]), digest["iterations"]
        found = hashlib.pbkdf2_hmac(digest["hash"], self._dek, salt, iterations, 32)
        if not hmac.compare_digest(found, base64.b64decode(digest["digest"])):
            raise NoVolume("another key")

    def has(self, number: int) -> bool:
        """Whether the sector is in this layer."""
        self._file.seek(self._payload + number * SECTOR)
        return number * SECTOR < self.size and any(self._file.read(SECTOR))

    def sector(self, number: int) -> bytes:
        """4096 bytes of plaintext."""
        self._file.seek(self._payload + number * SECTOR)
        ciphertext = self._file.read(SECTOR)
        if self.thin and not any(ciphertext):
            return ciphertext
        tweak = modes.XTS((8 * number).to_bytes(16, "little"))
        return Cipher(algorithms.AES(self._dek), tweak).decryptor().update(ciphertext)
