"""Snapshots that are no more: gone at once, their layers as soon as nothing needs them.

A layer that its volume's server has, or that another volume stands on, can't be merged. Its file
then says by its name alone that the snapshot was deleted, so that no record is needed to finish it.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from pathlib import Path

from evsd.durable import sync
from evsd.layers.chain import (
    FROZEN,
    Layer,
    hidden_path,
    layers,
    own_layers,
    read,
    require,
    snapshot_path,
)
from evsd.layers.merging import LayerInUse, MergeInterrupted, remove
from evsd.pools.file import (
    GIVEN_UP,
    HIDDEN,
    UNFINISHED,
    WHOLE,
    destroy,
    discard,
    raises_pool_errors,
)
from evsd.pools.pool import HeaderInvalid, VolumeBusy

NOT_YET = (LayerInUse, VolumeBusy, MergeInterrupted)


@raises_pool_errors
def hide(directory: Path, volume_id: str, snapshot_id: str) -> None:
    """A snapshot is deleted: from now on its layer is only what others stand on.

    Nothing happens where that was done. Raises `HeaderInvalid` for another volume's, or for one
    that is unfinished.
    """
    path = snapshot_path(directory, snapshot_id)
    if path.exists():
        layer = read(path)
        require(layer, volume_id)
        if layer.header.frozen_by != snapshot_id:
            raise HeaderInvalid(f"{path.name} is of a snapshot that was not finished")
        path.rename(hidden_path(directory, snapshot_id))
        sync(directory)


@raises_pool_errors
def hide_all(directory: Path, volume_id: str) -> None:
    """The volume is gone, and its snapshots with it."""
    for layer in own_layers(directory, volume_id):
        if layer.path.suffix != HIDDEN:
            if layer.header.frozen_by:
                hide(directory, volume_id, layer.path.stem)
            else:  # of a snapshot that was never finished
                discard(layer.path)


@raises_pool_errors
def sweep(
    directory: Path, volume_id: str, interrupted: Callable[[], bool] = lambda: False
) -> list[Layer]:
    """Take out of their chains what is hidden of a volume; gives what can't be yet."""
    left: list[Layer] = []
    hidden = _hidden(directory, volume_id)
    while hidden and hidden != left:
        left = hidden
        for layer in hidden:
            _try_to_remove(directory, layer, interrupted)
        hidden = _hidden(directory, volume_id)
    return hidden


@raises_pool_errors
def clean(directory: Path) -> None:
    """Remove layers that were not made to their end. At start, before others."""
    for suffix in (WHOLE, *FROZEN):
        for path in directory.glob(f"*{suffix}{UNFINISHED}"):
            path.unlink()


@raises_pool_errors
def destroy_given_up(directory: Path) -> None:
    """Remove what was a layer once."""
    for suffix in FROZEN:
        for path in directory.glob(f"*{suffix}{GIVEN_UP}"):
            destroy(path)


def strays(directory: Path, volume_ids: Set[str]) -> list[str]:
    """The names of layers that are of none of these volumes, and on which none stands."""
    found = layers(directory)
    needed = {each.header.own_layer for each in found if each.header.uuid in volume_ids}
    while (
        more := {
            each.header.parent_layer_id
            for each in found
            if each.header.own_layer in needed and each.header.parent_layer_id
        }
        - needed
    ):
        needed |= more
    known = {each.path for each in found if each.header.own_layer in needed}
    return sorted(
        path.name for path in directory.iterdir() if path.suffix in FROZEN and path not in known
    )


def with_hidden(directory: Path) -> set[str]:
    """The volumes, there or not, of which `sweep` has something to do."""
    return {layer.header.uuid for layer in layers(directory, (HIDDEN,))}


def _hidden(directory: Path, volume_id: str) -> list[Layer]:
    return [each for each in own_layers(directory, volume_id) if each.path.suffix == HIDDEN]


def _try_to_remove(directory: Path, layer: Layer, interrupted: Callable[[], bool]) -> None:
    try:
        remove(directory, layer.path.stem, interrupted)
    except NOT_YET:
        return
