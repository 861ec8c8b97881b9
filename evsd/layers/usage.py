"""What layers take of the pool."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from evsd.layers.chain import Layer, chain, layers
from evsd.pools.file import LAYER, raises_pool_errors


@dataclass(frozen=True, slots=True)
class LayerUsage:
    """One layer: `used` are bytes of the pool, `size` is what the disk had.

    `snapshot_id` is "" for the layer that is written to, and for one whose snapshot was deleted and
    on which something stands.
    """

    layer_id: str
    disk_id: str
    snapshot_id: str
    size: int
    used: int

    @classmethod
    def of(cls, layer: Layer) -> LayerUsage:
        """Raises OSError."""
        return cls(
            layer_id=layer.header.own_layer,
            disk_id=layer.header.uuid,
            snapshot_id=layer.path.stem if layer.path.suffix == LAYER else "",
            size=layer.header.size,
            used=layer.path.stat().st_blocks * 512,
        )


@raises_pool_errors
def of(directory: Path, volume_id: str) -> list[LayerUsage]:
    """Of a volume's chain, its top first; a clone's goes on in layers of other volumes."""
    return [LayerUsage.of(layer) for layer in chain(directory, volume_id)]


@raises_pool_errors
def of_all(directory: Path) -> list[LayerUsage]:
    """Of everything in the pool."""
    return [LayerUsage.of(layer) for layer in layers(directory)]
