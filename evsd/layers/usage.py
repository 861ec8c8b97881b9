"""What layers take of the pool, and what of it comes back with one of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path

from evsd.layers.chain import Layer, chain, layers
from evsd.pools.file import LAYER, WHOLE, data_in, raises_pool_errors
from nbd_plugin import luks2


@dataclass(frozen=True, slots=True)
class LayerUsage:
    """One layer: `used` are bytes of the pool, `size` is what the disk had.

    `snapshot_id` is "" for the layer that is written to, and for one whose snapshot was deleted and
    on which something stands.
    """

    disk_id: str
    snapshot_id: str
    size: int
    used: int
    is_top: bool

    @classmethod
    def of(cls, layer: Layer) -> LayerUsage:
        """Raises OSError."""
        return cls(
            disk_id=layer.header.uuid,
            snapshot_id=layer.path.stem if layer.path.suffix == LAYER else "",
            size=layer.header.size,
            used=layer.path.stat().st_blocks * 512,
            is_top=layer.path.suffix == WHOLE,
        )


@raises_pool_errors
def of(directory: Path, volume_id: str) -> list[LayerUsage]:
    """Of a volume's chain, its top first; a clone's goes on in layers of other volumes."""
    return [LayerUsage.of(layer) for layer in chain(directory, volume_id)]


@raises_pool_errors
def of_disks(directory: Path, disk_ids: Set[str]) -> list[tuple[LayerUsage, int]]:
    """Of all layers of these disks, each with the bytes that come back if its snapshot is deleted.

    That is what the layer above it has too; of a layer that nothing stands on all, of one that
    several stand on, or another volume, nothing. It goes by the filesystem's word for a hole, so
    that it takes no reading: what was read before it was written may count. Of layers that are no
    snapshot's nothing comes back so.
    """
    found = layers(directory)
    above: dict[str, list[Layer]] = {layer.header.own_layer: [] for layer in found}
    for layer in found:
        if layer.header.parent_layer_id in above:
            above[layer.header.parent_layer_id].append(layer)
    return [
        (LayerUsage.of(layer), _exclusive(layer, above[layer.header.own_layer]))
        for layer in found
        if layer.header.uuid in disk_ids
    ]


def _exclusive(layer: Layer, above: list[Layer]) -> int:
    if layer.path.suffix != LAYER or not layer.header.frozen_by:
        return 0
    if not above:
        return layer.path.stat().st_blocks * 512
    if len(above) > 1 or above[0].header.uuid != layer.header.uuid:
        return 0
    both = _common(_data(layer.path), _data(above[0].path))
    return sum(last - first for first, last in both)


def _data(path: Path) -> Iterator[tuple[int, int]]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield from data_in(fd, luks2.DATA_OFFSET, os.fstat(fd).st_size)
    finally:
        os.close(fd)


def _common(
    one: Iterable[tuple[int, int]], other: Iterable[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    """What is in both of two rows of ranges, each in order."""
    mine, theirs = iter(one), iter(other)
    left, right = next(mine, None), next(theirs, None)
    while left is not None and right is not None:
        first, last = max(left[0], right[0]), min(left[1], right[1])
        if first < last:
            yield first, last
        if left[1] < right[1]:
            left = next(mine, None)
        else:
            right = next(theirs, None)
