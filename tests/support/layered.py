"""A volume with layers in this process: the compiled path over real files, without nbdkit."""

from __future__ import annotations

import hashlib
import os
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from evsd.layers.chain import Layer, chain, down_from, read, snapshot_path, volume_path
from evsd.layers.cloning import header_of_clone
from evsd.layers.making import roll_back, take
from evsd.layers.merging import remove
from evsd.layers.recovery import finish
from evsd.pools.file import FilePool
from nbd_plugin import _datapath, luks2
from tests.support.key_service import seal
from tests.support.volume import create, new_header

INFO = b"evsd key release v1:layers"
MAY_TRIM, FAST_ZERO = 1, 8


class Crash(BaseException):
    """The process ends here."""


def crashing(at: int, work: Callable[[], object]) -> bool:
    """Do it, and stop before the line number `at` that it runs of our code; whether it did."""

    def crash() -> None:
        raise Crash

    try:
        return at_line(at, work, crash)
    except Crash:
        return True


def at_line(at: int, work: Callable[[], object], happens: Callable[[], None]) -> bool:
    """Do it, and something else before its line number `at`; whether there were so many."""
    left = [at]

    def line(_frame: FrameType, event: str, _argument: object) -> Any:
        if event == "line":
            left[0] -= 1
            if left[0] == -1:
                happens()
        return line

    def call(frame: FrameType, _event: str, _argument: object) -> Any:
        code = frame.f_code
        writes = code.co_filename.endswith("/luks2.py") and code.co_name in ("write", "write_all")
        ours = "/evsd/layers/" in code.co_filename or code.co_filename.endswith("/snapshots.py")
        return line if writes or ours else None

    before = sys.gettrace()
    sys.settrace(call)
    try:
        work()
    finally:
        sys.settrace(before)
    return left[0] < 0


class Disk:
    """One volume in a directory; `open` serves it, or one of its snapshots, from this process."""

    def __init__(
        self,
        directory: Path,
        size: int,
        *,
        thin: bool = True,
        clone_of: tuple[Disk, str] | None = None,
    ) -> None:
        """A clone of a disk's snapshot is thin and has a key of its own."""
        self.directory, self.dek = directory, os.urandom(64)
        self._source = clone_of[0] if clone_of else None
        header = new_header(self.dek, size, thin=thin)
        header = header._replace(digest_iterations=10, digest=self._digest(header.digest_salt))
        self.id = header.uuid
        self._has_key = False
        self._fds: list[int] = []
        if clone_of:
            header = header_of_clone(directory, clone_of[1], header)
        create(self.path, header)
        if not thin:
            self._fill()

    def _digest(self, salt: bytes) -> bytes:
        return hashlib.pbkdf2_hmac("sha256", self.dek, salt, 10, 32)

    def _fill(self) -> None:
        self.open()
        _datapath.pwrite(None, memoryview(bytes(self.header.size)), 0, 0)
        self.unserve()

    @property
    def path(self) -> Path:
        """The layer that is written to."""
        return volume_path(self.directory, self.id)

    @property
    def header(self) -> luks2.Header:
        """Of that layer."""
        return read(self.path).header

    def open(self, snapshot: str = "") -> None:
        """Serve it, in place of what was served before."""
        self.unserve()
        layers = (
            down_from(self.directory, read(snapshot_path(self.directory, snapshot)))
            if snapshot
            else chain(self.directory, self.id)
        )
        self._set(layers, os.O_RDONLY if snapshot else os.O_RDWR)
        if self._has_key:
            return
        self._has_key = True
        if self._source:
            _get_key(self._source.dek, layers[-1].header, of_layers=True)
        _get_key(self.dek, layers[0].header)

    def _set(self, layers: list[Layer], mode: int) -> None:
        for number, layer in enumerate(layers):
            self._fds.append(os.open(layer.path, os.O_RDONLY if number else mode))
        header = layers[0].header
        _datapath.set_volume(
            self._fds[0], luks2.DATA_OFFSET, header.size, header.thin, bool(header.layer_id)
        )
        for layer, fd in list(zip(layers, self._fds, strict=True))[:0:-1]:
            key = layer.header.uuid != self.id
            _datapath.add_layer(fd, luks2.DATA_OFFSET, layer.header.size, key)

    def unserve(self) -> None:
        """Have no file open; the key stays."""
        while self._fds:
            os.close(self._fds.pop())

    def close(self) -> None:
        """Serve nothing, and wipe the key."""
        _datapath.wipe()
        self._has_key = False
        self.unserve()

    def switch(self, fd: int) -> None:
        """What the server does when it is told of a new layer."""
        self._fds.append(os.dup(fd))
        _datapath.switch_layer(self._fds[-1], luks2.DATA_OFFSET, luks2.read(fd).size)

    def snapshot(self, *, served: bool = True) -> str:
        """Take one; gives its id."""
        made = str(uuid.uuid4())
        self.take(made, served=served)
        return made

    def take(self, made: str, *, served: bool) -> None:
        """Take one, or go on after a crash."""
        if served:
            take(self.directory, self.id, made, self.switch)
        else:
            take(self.directory, self.id, made)

    def roll_back(self, snapshot: str) -> None:
        """To a snapshot."""
        roll_back(self.directory, self.id, snapshot)

    def remove(self, snapshot: str) -> None:
        """Delete a snapshot."""
        remove(self.directory, snapshot)

    def recover(self) -> None:
        """After a crash."""
        finish(self.directory, self.id)

    def extend(self, size: int) -> None:
        """As the pool does; of a thick volume the new part is filled."""
        before = self.header.size
        pool = FilePool(self.directory)
        self.unserve()
        pool.grow(self.id, before, size)
        pool.settle(self.id)
        if not self.header.thin:
            self.open()
            _datapath.zero(None, size - before, before, 0)

    def read(self, count: int, offset: int = 0) -> bytes:
        """Of what is served."""
        buffer = bytearray(count)
        _datapath.pread(None, memoryview(buffer), offset, 0)
        return bytes(buffer)

    def write(self, data: bytes, offset: int) -> None:
        """To what is served."""
        _datapath.pwrite(None, memoryview(data), offset, 0)

    def content(self, snapshot: str = "") -> bytes:
        """All of the volume, or of a snapshot."""
        self.open(snapshot)
        size = read(snapshot_path(self.directory, snapshot) if snapshot else self.path).header.size
        return self.read(size)


def _get_key(dek: bytes, header: luks2.Header, *, of_layers: bool = False) -> None:
    _datapath.unseal(*seal(dek, _datapath.new_release_key(), "layers"), INFO)
    digest = header.digest_salt, header.digest_iterations, header.digest
    assert _datapath.verify_digest(*digest, of_layers)
