"""The compiled request path in this process, fed with arbitrary requests, against a byte array.

Twelve bytes are one request: kind, flags, where and how long. Without nbdkit, which checks bounds
itself, so that ranges beyond the end get through to ours.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable

from nbd_plugin import _datapath
from tests.support.key_service import seal

SIZE = 200 * 1024 // 4096 * 4096
DATA_OFFSET = 8192
SECTOR = 4096
MAY_TRIM, FUA, REQ_ONE, FAST_ZERO = 1, 2, 4, 8
REQUEST = struct.Struct("<BBHII")
INFO = b"evsd key release v1:fuzz"


class Target:
    """A volume on tmpfs with a key, and what it should hold."""

    def __init__(self, thin: bool) -> None:
        self.dek = os.urandom(64)
        self.thin = thin
        self.model = bytearray(SIZE)
        self.fd = os.memfd_create("volume")
        os.ftruncate(self.fd, DATA_OFFSET + SIZE)
        _datapath.set_volume(self.fd, DATA_OFFSET, SIZE, thin)
        self.get_key()
        _datapath.zero(None, SIZE, 0, MAY_TRIM)

    def get_key(self) -> None:
        """As at the first connection."""
        _datapath.unseal(*seal(self.dek, _datapath.new_release_key(), "fuzz"), INFO)
        digest = hashlib.pbkdf2_hmac("sha256", self.dek, b"salt-salt", 10, 32)
        assert _datapath.verify_digest(b"salt-salt", 10, digest)

    def close(self) -> None:
        """Wipe the key; nothing works any more."""
        _datapath.wipe()
        os.close(self.fd)

    def request(self, kind: int, flags: int, offset: int, length: int) -> None:
        """One request, and the same on the model."""
        calls: list[Callable[[int, int, int], None]] = [
            self._read,
            self._write,
            self._zero,
            self._trim,
            self._extents,
            self._cache,
        ]
        inside = offset + length <= SIZE
        try:
            calls[kind % len(calls)](offset, length, flags)
        except OSError:
            assert not inside or flags & FAST_ZERO
        else:
            assert inside

    def _read(self, offset: int, length: int, flags: int) -> None:
        buffer = bytearray(length)
        _datapath.pread(None, memoryview(buffer), offset, flags)
        assert buffer == self.model[offset : offset + length]

    def _write(self, offset: int, length: int, flags: int) -> None:
        data = bytes([offset % 255 + 1]) * length
        _datapath.pwrite(None, memoryview(data), offset, flags)
        self.model[offset : offset + length] = data

    def _zero(self, offset: int, length: int, flags: int) -> None:
        _datapath.zero(None, length, offset, flags)
        self.model[offset : offset + length] = bytes(length)

    def _trim(self, offset: int, length: int, flags: int) -> None:
        _datapath.trim(None, length, offset, flags)
        if self.thin:
            self.model[offset : offset + length] = bytes(length)

    def _extents(self, offset: int, length: int, flags: int) -> None:
        for at, size, kind in _datapath.extents(None, length, offset, flags):
            assert offset <= at < at + size <= offset + length
            if kind and self.thin:
                assert not any(self.model[at : at + size])

    def _cache(self, offset: int, length: int, flags: int) -> None:
        _datapath.cache(None, length, offset, flags)


def run(data: bytes) -> None:
    """The first byte chooses thin or thick; the rest are requests."""
    target = Target(thin=not data[:1] or data[0] % 2 == 0)
    try:
        for at in range(1, len(data) - REQUEST.size + 1, REQUEST.size):
            kind, flags, scale, offset, length = REQUEST.unpack_from(data, at)
            unit = (1, 512, SECTOR, 65536)[scale % 4]
            offset = offset % (SIZE // unit + 2) * unit
            length = (length % ((scale >> 2) % 64 + 1) + 1) * unit
            target.request(kind, flags & 15, offset, min(length, SIZE + SECTOR))
        target.request(0, 0, 0, SIZE)
    finally:
        target.close()


def seeds() -> dict[str, bytes]:
    """A few of each kind of request."""
    one = [REQUEST.pack(k, f, 7, k * 31 + f, 5) for k in range(6) for f in (0, 1, 3, 8, 9)]
    return {"thin": b"\0" + b"".join(one), "thick": b"\1" + b"".join(one)}
