"""Which files a volume consists of, told by their headers alone."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from evsd.pools.file import HIDDEN, LAYER, WHOLE, raises_pool_errors
from evsd.pools.pool import HeaderInvalid, PoolError
from nbd_plugin import luks2

MAX_LAYERS = 16  # as the server's compiled path has it
FROZEN = (LAYER, HIDDEN)


class ChainBroken(HeaderInvalid):
    """A layer that others stand on is not there, or they stand on each other."""


class ChainTooLong(PoolError):
    """It has as many layers as there can be: one has to be merged first."""


@dataclass(frozen=True)
class Layer:
    """A file and what it says of itself."""

    path: Path
    header: luks2.Header


def volume_path(directory: Path, volume_id: str) -> Path:
    """The layer that is written to."""
    return directory / f"{volume_id}{WHOLE}"


def snapshot_path(directory: Path, snapshot_id: str) -> Path:
    """The layer that a snapshot froze."""
    return directory / f"{snapshot_id}{LAYER}"


@raises_pool_errors
def read(path: Path) -> Layer:
    """Raises `VolumeMissing`, `HeaderInvalid`."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return Layer(path, luks2.read(fd))
    finally:
        os.close(fd)


def hidden_path(directory: Path, snapshot_id: str) -> Path:
    """The same when the snapshot is gone and something still stands on the layer."""
    return directory / f"{snapshot_id}{HIDDEN}"


def layers(directory: Path, suffixes: tuple[str, ...] = (WHOLE, *FROZEN)) -> list[Layer]:
    """All files of volumes and snapshots whose headers can be read."""
    found = []
    for path in sorted(directory.iterdir()):
        if path.suffix in suffixes:
            try:
                found.append(read(path))
            except PoolError:
                continue  # whoever stands on it will miss it
    return found


# Of each directory, whose a file is, by name and inode: so that of thousands of files only a
# volume's own are read. A file never becomes another volume's, and a snapshot's name is given once.
_owners: dict[str, dict[tuple[str, int], str]] = {}


def own_layers(directory: Path, volume_id: str) -> list[Layer]:
    """What a volume's snapshots froze, hidden or not, in no order."""
    known, owners = _owners.get(str(directory), {}), {}
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.endswith(FROZEN):
                key = entry.name, entry.inode()
                owners[key] = known.get(key) or _owner(directory / entry.name)
    _owners[str(directory)] = owners
    found = []
    for (name, _), owner in owners.items():
        if owner == volume_id:
            with suppress(PoolError):  # whoever stands on it will miss it
                found.append(read(directory / name))
    return found


def _owner(path: Path) -> str:
    """Nobody's where that can't be read."""
    try:
        return read(path).header.uuid
    except PoolError:
        return ""


def children(directory: Path, parent: Layer) -> list[Layer]:
    """The layers directly above one."""
    own = parent.header.own_layer
    return [layer for layer in layers(directory) if layer.header.parent_layer_id == own]


def chain(directory: Path, volume_id: str) -> list[Layer]:
    """A volume's layers, the one that is written to first. Raises `ChainBroken` and as `read`."""
    return down_from(directory, read(volume_path(directory, volume_id)))


def down_from(directory: Path, top: Layer) -> list[Layer]:
    """A layer and all it stands on."""
    if not top.header.parent_layer_id:
        return [top]
    there = _by_id([*own_layers(directory, top.header.uuid), top])
    found, has_all = [top], False
    while parent := found[-1].header.parent_layer_id:
        below = there.get(parent)
        if below is None and not has_all:  # a clone's
            there, has_all = _by_id([*layers(directory, FROZEN), top]), True
            below = there.get(parent)
        if below is None or below in found:
            raise ChainBroken(f"{found[-1].path.name} stands on layer {parent}, which is missing")
        if len(found) == MAX_LAYERS:
            raise ChainBroken(f"{top.path.name} stands on more than {MAX_LAYERS - 1} layers")
        found.append(below)
    return found


def _by_id(found: list[Layer]) -> dict[str, Layer]:
    """Of two files with one id, as while merging, the one that misses nothing below counts."""
    ids = {layer.header.own_layer for layer in found}
    there: dict[str, Layer] = {}
    for layer in found:
        parent = layer.header.parent_layer_id
        if not parent or parent in ids or layer.header.own_layer not in there:
            there[layer.header.own_layer] = layer
    return there


def require(layer: Layer, volume_id: str) -> None:
    """Raises `HeaderInvalid` unless the layer is this volume's own."""
    if layer.header.uuid != volume_id:
        raise HeaderInvalid(f"{layer.path.name} is of volume {layer.header.uuid}")
