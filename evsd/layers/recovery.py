"""What a crash in the middle of an operation on a volume's layers left behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from evsd.layers.chain import Layer, chain, down_from, layers, own_layers, read, volume_path
from evsd.layers.making import finish_taking
from evsd.layers.merging import finish_merging
from evsd.pools.file import LAYER, raises_pool_errors
from evsd.pools.pool import HeaderInvalid
from nbd_plugin import luks2


def finish(directory: Path, volume_id: str) -> None:
    """Make the volume's file its newest layer, on top of a whole chain.

    For a volume that no server has. A snapshot that had frozen nothing yet is forgotten; the other
    operations were done, or are not begun, and can be asked for again. Raises `PoolError`.
    """
    finish_merging(directory, volume_id)
    finish_taking(directory, volume_id)


@dataclass(frozen=True, slots=True)
class FoundSnapshot:
    """A snapshot as its layer tells it: `size` bytes, `taken` seconds since the epoch, or later."""

    snapshot_id: str
    size: int
    taken: float


@raises_pool_errors
def whole(directory: Path, volume_id: str) -> list[FoundSnapshot]:
    """Make sure that all a volume consists of is there; gives its snapshots, oldest first.

    For a volume that no server has, and no record. Raises `PoolError`.
    """
    finish(directory, volume_id)
    if read(volume_path(directory, volume_id)).header.frozen_by:
        raise HeaderInvalid("it is a snapshot's, and the layer above it is missing")
    own = [each for each in own_layers(directory, volume_id) if each.path.suffix == LAYER]
    for layer in {each.path: each for each in (*chain(directory, volume_id), *own)}.values():
        if layer.path.stat().st_size < luks2.DATA_OFFSET + layer.header.size:
            raise HeaderInvalid(f"{layer.path.name} is truncated")
        down_from(directory, layer)
    found = [
        FoundSnapshot(each.header.frozen_by, each.header.size, each.path.stat().st_mtime)
        for each in own
    ]
    return sorted(found, key=lambda each: each.taken)


def unfinished(directory: Path) -> set[str]:
    """The volumes of which a snapshot was begun and not finished; a server may have them."""
    return {each.header.uuid for each in layers(directory, (LAYER,)) if not each.header.frozen_by}


def below_newest(directory: Path, volume_id: str) -> list[Layer]:
    """What the newest layer of a volume that no server has stands on, after `finish`.

    Raises `PoolError`. Of a volume without layers only its own header is read.
    """
    if not read(volume_path(directory, volume_id)).header.layer_id:
        return []
    finish(directory, volume_id)
    return chain(directory, volume_id)[1:]
