"""New layers: a snapshot, and going back to one.

A snapshot's steps, each of which may be done again after a crash:

1. an empty layer over the volume's file, under the snapshot's name, on disk;
2. the volume's file says that it is frozen, and by which snapshot;
3. the volume's server, if there is one, writes to the new layer from now on;
4. the two exchange names.

An empty layer reads as its parent. So from the second step on the new one can be taken for the
volume, whether it was written to yet or not.
"""

from __future__ import annotations

import ctypes
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from evsd.durable import sync
from evsd.layers.chain import (
    MAX_LAYERS,
    ChainTooLong,
    Layer,
    chain,
    hidden_path,
    own_layers,
    read,
    require,
    snapshot_path,
    volume_path,
)
from evsd.pools.file import GIVEN_UP, LAYER, UNFINISHED, lengthen, raises_pool_errors, unserved
from evsd.pools.pool import HeaderInvalid, SizeDiffers
from nbd_plugin import luks2

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_libc = ctypes.CDLL(None, use_errno=True)


def _nobody_serves(_new_layer: int) -> None:
    """For a volume that is not attached."""


@raises_pool_errors
def take(
    directory: Path,
    volume_id: str,
    snapshot_id: str,
    switch: Callable[[int], object] = _nobody_serves,
) -> None:
    """Make a snapshot; after a crash, finish it.

    `switch` is given the new layer's descriptor and tells the volume's server; it may be called
    again for a layer that the server has already. Raises `ChainTooLong`, `PoolError`.
    """
    layer = prepare(directory, volume_id, snapshot_id)
    if layer is not None:
        with opened(layer) as fd:
            switch(fd)
        complete(directory, volume_id, snapshot_id)


@raises_pool_errors
def prepare(directory: Path, volume_id: str, snapshot_id: str) -> Layer | None:
    """The first two steps: gives the new layer, None where the snapshot was completed before."""
    name = snapshot_path(directory, snapshot_id)
    if name.exists() and read(name).header.frozen_by == snapshot_id:
        return None
    if hidden_path(directory, snapshot_id).exists():
        raise HeaderInvalid(f"snapshot {snapshot_id} was deleted")
    layer = _empty_layer(directory, volume_id, name)
    _mark_frozen(volume_path(directory, volume_id), snapshot_id)
    return layer


@contextmanager
def opened(layer: Layer) -> Iterator[int]:
    """For the third step: its descriptor, to be written to."""
    fd = os.open(layer.path, os.O_RDWR | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


@raises_pool_errors
def complete(directory: Path, volume_id: str, snapshot_id: str) -> None:
    """The last step, once: for a snapshot whose new layer the server, if there is one, has."""
    exchange(snapshot_path(directory, snapshot_id), volume_path(directory, volume_id))


@raises_pool_errors
def give_up(directory: Path, volume_id: str) -> None:
    """Undo what `prepare` did, if anything: the volume's file is its top again.

    For a volume whose new layer no server was given.
    """
    top = read(volume_path(directory, volume_id))
    if top.header.frozen_by:
        is_first = top.header.layer_id == volume_id
        layer_id = "" if is_first else top.header.layer_id  # as if there never had been another
        _write_top(top.path, top.header._replace(layer_id=layer_id, frozen_by=""))
    finish_taking(directory, volume_id)


@raises_pool_errors
def finish_taking(directory: Path, volume_id: str) -> None:
    """Give a volume that no server has its newest layer as its file, after a crash of `take`.

    A layer that nobody had been told of is thrown away, and with it the snapshot.
    """
    top = read(volume_path(directory, volume_id))
    for layer in own_layers(directory, volume_id):
        header = layer.header
        if header.parent_layer_id != top.header.own_layer or header.frozen_by:
            continue
        if layer.path == snapshot_path(directory, top.header.frozen_by):
            with unserved(top.path, os.O_RDONLY):  # its server would go on writing to it
                exchange(layer.path, top.path)
        else:
            layer.path.unlink()
            sync(directory)


@raises_pool_errors
def roll_back(directory: Path, volume_id: str, snapshot_id: str) -> None:
    """Drop what was written since a snapshot. The volume keeps its size; what is beyond is zeros.

    The file that held it is given up and not removed, which can take a minute: for a sweep. Raises
    `VolumeBusy` while it is served.
    """
    path = volume_path(directory, volume_id)
    frozen = read(snapshot_path(directory, snapshot_id))
    require(frozen, volume_id)
    with unserved(path, os.O_RDWR) as fd:
        header = luks2.read(fd)
        unfinished = path.with_name(f"{path.name}{UNFINISHED}")
        unfinished.unlink(missing_ok=True)
        _write_empty(unfinished, header, fd, parent=frozen.header.own_layer)
        exchange(unfinished, path)
        unfinished.rename(directory / f"{header.own_layer}{LAYER}{GIVEN_UP}")
    sync(directory)


def exchange(one: Path, other: Path) -> None:
    """Two files change names in one step, on disk when it returns; raises OSError."""
    paths = os.fsencode(one), os.fsencode(other)
    if _libc.renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    sync(one.parent)


@raises_pool_errors
def _empty_layer(directory: Path, volume_id: str, name: Path) -> Layer:
    """The new layer over the volume's file, which may be there already."""
    below = chain(directory, volume_id)
    require(below[0], volume_id)
    parent = below[0].header
    if parent.frozen_by not in ("", name.stem):
        raise HeaderInvalid(f"snapshot {parent.frozen_by} of it is unfinished")
    if name.exists():
        layer = read(name)
        if layer.header.parent_layer_id != parent.own_layer:
            raise HeaderInvalid(f"{name.name} is of another volume, or time")
        return layer
    if len(below) == MAX_LAYERS:
        raise ChainTooLong(f"{below[0].path.name} has {MAX_LAYERS} layers")
    if parent.settled < parent.size:
        raise SizeDiffers(parent.settled, parent.size)
    unfinished = name.with_name(f"{name.name}{UNFINISHED}")
    unfinished.unlink(missing_ok=True)
    fd = os.open(below[0].path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _write_empty(unfinished, parent, fd, parent=parent.own_layer)
    finally:
        os.close(fd)
    unfinished.rename(name)
    sync(directory)
    return read(name)


def _write_empty(path: Path, header: luks2.Header, keyslots: int, *, parent: str) -> None:
    """A layer with what is in a volume's header; `keyslots` is the descriptor of its file."""
    layer = header._replace(
        layer_id=str(uuid.uuid4()),
        parent_layer_id=parent,
        frozen_by="",
        sequence=1,
        settled=header.size,
    )
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        lengthen(fd, layer)
        copy_keyslots(keyslots, fd)
        luks2.write(fd, layer)
        os.fsync(fd)
    finally:
        os.close(fd)


def copy_keyslots(source: int, target: int) -> None:
    """What an administrator put behind the header belongs to it."""
    length = luks2.DATA_OFFSET - luks2.HEADER_LENGTH
    area = os.pread(source, length, luks2.HEADER_LENGTH)
    if any(area) or any(os.pread(target, length, luks2.HEADER_LENGTH)):
        luks2.write_all(target, area, luks2.HEADER_LENGTH)


def _mark_frozen(path: Path, snapshot_id: str) -> None:
    header = read(path).header
    if header.frozen_by != snapshot_id:
        _write_top(path, header._replace(layer_id=header.own_layer, frozen_by=snapshot_id))


def _write_top(path: Path, header: luks2.Header) -> None:
    # Its server, if it has one, holds the lock and never writes a header.
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        luks2.write(fd, header._replace(sequence=header.sequence + 1))
    finally:
        os.close(fd)
