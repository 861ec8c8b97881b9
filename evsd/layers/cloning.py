"""Disks made from snapshots: an empty layer with a key of its own, over what the snapshot froze."""

from __future__ import annotations

import uuid
from pathlib import Path

from evsd.layers.chain import (
    MAX_LAYERS,
    ChainTooLong,
    chain,
    down_from,
    read,
    snapshot_path,
)
from evsd.pools.file import raises_pool_errors
from evsd.pools.pool import HeaderInvalid, SizeDiffers
from nbd_plugin import luks2


@raises_pool_errors
def header_of_clone(directory: Path, snapshot_id: str, header: luks2.Header) -> luks2.Header:
    """A new disk's header, of one that reads as a snapshot, and as zeros beyond its end.

    Raises `SizeDiffers` for a smaller one, `HeaderInvalid` where the snapshot is unfinished,
    `VolumeMissing` where there is none, `ChainTooLong`.
    """
    base = read(snapshot_path(directory, snapshot_id))
    if base.header.frozen_by != snapshot_id:
        raise HeaderInvalid(f"{base.path.name} is of a snapshot that was not finished")
    if header.size < base.header.size:
        raise SizeDiffers(base.header.size, header.size)
    if len(down_from(directory, base)) == MAX_LAYERS:
        raise ChainTooLong(f"{base.path.name} has {MAX_LAYERS} layers")
    return header._replace(
        layer_id=str(uuid.uuid4()),
        parent_layer_id=base.header.own_layer,
        settled=header.size,
    )


@raises_pool_errors
def headers_with_keys(directory: Path, volume_id: str) -> list[luks2.Header]:
    """A header for each data key that serving a volume needs, its own first."""
    found = {layer.header.uuid: layer.header for layer in reversed(chain(directory, volume_id))}
    return [found[disk_id] for disk_id in reversed(found)]
