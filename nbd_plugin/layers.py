"""The layers below a volume's file: descriptors that whoever started the server opened.

They stay open, and locked against writers, for as long as the server runs: the sandbox lets it open
none of them again.
"""

from __future__ import annotations

import fcntl
import os

from nbd_plugin import _datapath, luks2


class Layers:
    """`numbers` names inherited descriptors, the layer right below the volume's file first.

    Those of another volume, which this one is a clone of, have another key; `releases` says on what
    request each of these is released: `VOLUME=REQUEST,...`.
    """

    def __init__(self, numbers: str = "", releases: str = "") -> None:
        self._fds = [int(number) for number in numbers.split(",") if number]
        pairs = (pair.partition("=") for pair in releases.split(",") if pair)
        self.releases = {volume: request for volume, _, request in pairs}
        for fd in self._fds:
            os.set_inheritable(fd, False)
            _share(fd)

    def check(self, top: luks2.Header) -> None:
        """Raises `HeaderError` unless they are what `top` stands on, all of it, OSError."""
        above, known = top, {top.uuid: top}
        for fd in self._fds:
            header = luks2.read(fd)
            if header.own_layer != above.parent_layer_id:
                raise luks2.HeaderError(f"it stands on layer {above.parent_layer_id or 'none'}")
            if header.uuid not in self.releases:
                _require_same_key(header, top)
            _require_same_key(header, known.setdefault(header.uuid, header))
            _require_whole(fd, header)
            above = header
        if above.parent_layer_id:
            raise luks2.HeaderError(f"layer {above.parent_layer_id} below it is missing")

    def others(self, top: luks2.Header) -> list[luks2.Header]:
        """A layer of each other volume, the highest first: those with keys of their own."""
        headers = {header.uuid: header for header in map(luks2.read, reversed(self._fds))}
        return [headers[each] for each in reversed(headers) if each != top.uuid]

    def serve(self, top: luks2.Header) -> None:
        """Let requests look there; the volume's file is set already."""
        keys = [top.uuid, *(header.uuid for header in self.others(top))]
        for fd in reversed(self._fds):
            header = luks2.read(fd)
            _datapath.add_layer(fd, luks2.DATA_OFFSET, header.size, keys.index(header.uuid))

    def push(self, fd: int) -> None:
        """The file that was written to until now is one of them."""
        self._fds.insert(0, fd)
        _share(fd)


def _share(fd: int) -> None:
    fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)


def require_above(fd: int, header: luks2.Header, top: luks2.Header) -> None:
    """Raises `HeaderError` unless it is a layer that can be written to in place of `top`."""
    if header.parent_layer_id != top.own_layer:
        raise luks2.HeaderError(f"the layer stands on {header.parent_layer_id or 'none'}")
    if header.thin != top.thin or header.frozen_by or header.settled < header.size:
        raise luks2.HeaderError("the layer is of another kind, or frozen, or not whole")
    _require_same_key(header, top)
    _require_whole(fd, header)


def _require_same_key(one: luks2.Header, other: luks2.Header) -> None:
    """Raises `HeaderError` unless one data key is that of both."""
    if not one.has_key_of(other):
        raise luks2.HeaderError("a layer of it is of another volume, or has another key")


def _require_whole(fd: int, header: luks2.Header) -> None:
    """Raises `HeaderError` for a file that is shorter than its header says."""
    if missing := truncation(fd, header):
        raise luks2.HeaderError(f"it is {missing}")


def truncation(fd: int, header: luks2.Header) -> str:
    """In words, how a file is shorter than its header says; "" where it is not. Raises OSError."""
    length = os.lseek(fd, 0, os.SEEK_END)  # of a block device too
    wanted = luks2.DATA_OFFSET + header.size
    return f"truncated: {length} bytes, not {wanted}" if length < wanted else ""
