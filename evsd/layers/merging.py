"""Taking a layer out of a chain: ciphertext is copied as it is, no key is needed.

*Up*: what only the lower one has goes into the upper one, which then stands on what the lower one
stood on. *Down*: what the upper one has goes into the lower one, which then takes its header and
its name. While either is under way the volume reads as before, so it can be
interrupted and begun again, also in the other direction.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

from evsd.durable import sync
from evsd.layers.chain import (
    FROZEN,
    Layer,
    children,
    hidden_path,
    own_layers,
    read,
    snapshot_path,
    volume_path,
)
from evsd.layers.holes import tells_holes
from evsd.layers.making import copy_keyslots
from evsd.pools.file import data_in, discard, raises_pool_errors, unserved
from evsd.pools.pool import HeaderInvalid, PoolError
from nbd_plugin import luks2

SECTOR = luks2.SECTOR_SIZE
CHUNK = 256 * SECTOR
ZEROS = bytes(SECTOR)


class LayerInUse(PoolError):
    """More than one layer stands on it, or one with another key: it stays, hidden."""


class MergeInterrupted(PoolError):
    """It is to be done again from its beginning; the volume reads as before."""


@raises_pool_errors
def remove(
    directory: Path, snapshot_id: str, interrupted: Callable[[], bool] = lambda: False
) -> None:
    """Take the layer that a snapshot froze out of its chain; after a crash, finish it.

    Raises `LayerInUse`, `VolumeBusy` while a server has it, `MergeInterrupted` when `interrupted`
    says so: it is asked often.
    """
    lower = _layer_of(directory, snapshot_id)
    if lower is None:
        return
    if (named := _merged_into(_all_of(directory, lower.header.uuid), lower)) is not None:
        _take_name(lower, named)
        return
    if lower.header.frozen_by != snapshot_id:
        raise HeaderInvalid(f"{lower.path.name} is of a snapshot that was not finished")
    above = children(directory, lower)
    if not above:
        discard(lower.path)
        return
    if len(above) > 1 or above[0].header.uuid != lower.header.uuid:
        raise LayerInUse(f"{lower.path.name} has {len(above)} layers above it")
    [upper] = above
    (merge_down if _is_larger(lower, upper) else merge_up)(lower, upper, interrupted)


def _layer_of(directory: Path, snapshot_id: str) -> Layer | None:
    """Under the name of a snapshot, or of one that was deleted."""
    for path in (snapshot_path(directory, snapshot_id), hidden_path(directory, snapshot_id)):
        if path.exists():
            return read(path)
    return None


@raises_pool_errors
def finish_merging(directory: Path, volume_id: str) -> None:
    """Give what was merged down its name, after a crash between its header and that."""
    own = _all_of(directory, volume_id)
    for layer in own:
        named = _merged_into(own, layer) if layer.path.suffix in FROZEN else None
        if named is not None:
            _take_name(layer, named)


@raises_pool_errors
def merge_up(lower: Layer, upper: Layer, interrupted: Callable[[], bool] = lambda: False) -> None:
    """Afterwards the upper one has all, and the lower one is gone."""
    _check(lower, upper)
    with ExitStack() as stack:
        source, target = _both(stack, lower, upper)
        end = min(lower.header.size, upper.header.size)
        for at, data in _present(source, end):
            _go_on(interrupted)
            _fill(target, at, data)
        os.fsync(target)
        _write_header(target, upper.header, lower.header)
    lower.path.unlink()
    sync(lower.path.parent)


@raises_pool_errors
def merge_down(lower: Layer, upper: Layer, interrupted: Callable[[], bool] = lambda: False) -> None:
    """Afterwards the lower one has all, and the upper one's place."""
    _check(lower, upper)
    with ExitStack() as stack:
        target, source = _both(stack, lower, upper)
        length = luks2.DATA_OFFSET + upper.header.size
        if os.fstat(target).st_size < length:
            os.truncate(target, length)
        for at, data in _present(source, upper.header.size):
            _go_on(interrupted)
            luks2.write_all(target, data, luks2.DATA_OFFSET + at)
        copy_keyslots(source, target)
        os.fsync(target)
        _write_header(target, upper.header, lower.header)
        _take_name(lower, upper.path)


def _go_on(interrupted: Callable[[], bool]) -> None:
    if interrupted():
        raise MergeInterrupted("somebody needs the volume: the rest is done another time")


def _check(lower: Layer, upper: Layer) -> None:
    if upper.header.parent_layer_id != lower.header.own_layer:
        raise HeaderInvalid(f"{upper.path.name} does not stand on {lower.path.name}")
    if not lower.header.has_key_of(upper.header) or lower.header.thin != upper.header.thin:
        raise HeaderInvalid(f"{upper.path.name} has another key than {lower.path.name}")
    if upper.header.size < lower.header.size:
        raise HeaderInvalid(f"{upper.path.name} is smaller than {lower.path.name}")


def _both(stack: ExitStack, lower: Layer, upper: Layer) -> tuple[int, int]:
    return (
        stack.enter_context(unserved(lower.path, os.O_RDWR)),
        stack.enter_context(unserved(upper.path, os.O_RDWR)),
    )


def _is_larger(one: Layer, other: Layer) -> bool:
    return one.path.stat().st_blocks > other.path.stat().st_blocks


def _write_header(fd: int, upper: luks2.Header, lower: luks2.Header) -> None:
    """The upper one's, over what the lower one stood on; of what is left alone a plain volume's."""
    merged = upper._replace(
        parent_layer_id=lower.parent_layer_id, sequence=max(upper.sequence, lower.sequence) + 1
    )
    alone = not merged.parent_layer_id and not merged.frozen_by
    if alone and (merged.thin or _is_whole(fd, merged.size)):
        merged = merged._replace(layer_id="")
    luks2.write(fd, merged)


def _merged_into(own: list[Layer], lower: Layer) -> Path | None:
    """Whose header the file of a removed snapshot has already: only the name is missing."""
    for layer in own:
        if layer.path != lower.path:
            same = layer.header.layer_id == lower.header.layer_id
            was_top = not layer.header.frozen_by and not lower.header.layer_id
            if (same or was_top) and lower.header.frozen_by == layer.header.frozen_by:
                return layer.path
    return None


def _all_of(directory: Path, volume_id: str) -> list[Layer]:
    with suppress(PoolError):  # it is deleted, or can't be read
        return [*own_layers(directory, volume_id), read(volume_path(directory, volume_id))]
    return own_layers(directory, volume_id)


def _take_name(merged: Layer, name: Path) -> None:
    merged.path.rename(name)
    sync(name.parent)


def _present(fd: int, size: int) -> Iterator[tuple[int, bytes]]:
    """Runs of sectors that a layer has: (offset, ciphertext)."""
    for start, end in _data(fd, size):
        for at in range(start, end, CHUNK):
            chunk = os.pread(fd, min(CHUNK, end - at), luks2.DATA_OFFSET + at)
            yield from ((at + run, data) for run, data in _runs(chunk))


def _is_whole(fd: int, size: int) -> bool:
    """Whether no sector is absent: else a thick volume stays a layer, for want of a key."""
    return sum(len(data) for _, data in _present(fd, size)) == size


def _runs(chunk: bytes) -> Iterator[tuple[int, bytes]]:
    start = None
    for at in range(0, len(chunk) + SECTOR, SECTOR):
        there = at < len(chunk) and chunk[at : at + SECTOR] != ZEROS
        if there and start is None:
            start = at
        if not there and start is not None:
            yield start, chunk[start:at]
            start = None


def _data(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Where a file has data, or may have: whole sectors, none of them twice."""
    if not tells_holes(fd):
        yield 0, size
        return
    reached = 0
    for first, last in data_in(fd, luks2.DATA_OFFSET, luks2.DATA_OFFSET + size):
        start = (first - luks2.DATA_OFFSET) // SECTOR * SECTOR
        end = -(-(last - luks2.DATA_OFFSET) // SECTOR) * SECTOR
        if end > reached:
            yield max(start, reached), end
            reached = end


def _fill(fd: int, at: int, data: bytes) -> None:
    """Write those sectors that are absent there."""
    there = os.pread(fd, len(data), luks2.DATA_OFFSET + at)
    wanted = bytearray(data)
    for start, run in _runs(there):
        wanted[start : start + len(run)] = bytes(len(run))
    for start, run in _runs(bytes(wanted)):
        luks2.write_all(fd, run, luks2.DATA_OFFSET + at + start)
