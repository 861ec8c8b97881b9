"""What a crash in the middle of an operation on a volume's layers left behind."""

from __future__ import annotations

from pathlib import Path

from evsd.layers.chain import Layer, chain, layers, read, volume_path
from evsd.layers.making import finish_taking
from evsd.layers.merging import finish_merging
from evsd.pools.file import LAYER


def finish(directory: Path, volume_id: str) -> None:
    """Make the volume's file its newest layer, on top of a whole chain.

    For a volume that no server has. A snapshot that had frozen nothing yet is forgotten; the other
    operations were done, or are not begun, and can be asked for again. Raises `PoolError`.
    """
    finish_merging(directory, volume_id)
    finish_taking(directory, volume_id)


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
