"""Operations on the files of a volume with layers: what they leave, and what they refuse."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from evsd.layers import merging
from evsd.layers.chain import (
    MAX_LAYERS,
    ChainBroken,
    ChainTooLong,
    chain,
    read,
    snapshot_path,
    volume_path,
)
from evsd.layers.making import roll_back
from evsd.layers.merging import LayerInUse, remove
from evsd.layers.recovery import finish
from evsd.pools.pool import HeaderInvalid, SizeDiffers, VolumeBusy
from nbd_plugin import luks2
from tests.support.layered import Disk, crashing
from tests.support.reader import Reader

SECTOR = 4096
SIZE = 40 * SECTOR
REMOVE = """
import sys
from pathlib import Path
from evsd.layers.merging import remove

remove(Path(sys.argv[1]), sys.argv[2])
"""


@pytest.fixture
def disk(tmpfs: Path) -> Iterator[Disk]:
    """A thin volume that nobody serves."""
    made = Disk(tmpfs, SIZE)
    yield made
    made.close()


@pytest.fixture
def written(disk: Disk) -> tuple[Disk, list[str], bytes]:
    """One of three snapshots, each with something of its own; and all it holds."""
    snapshots = []
    for number in range(4):
        disk.open()
        disk.write(bytes([number + 1]) * 2 * SECTOR, number * SECTOR)
        disk.unserve()
        if number < 3:
            snapshots.append(disk.snapshot(served=False))
    return disk, snapshots, disk.content()


def test_a_snapshots_file_has_its_id_and_the_volumes_own_is_empty(disk: Disk) -> None:
    before = disk.header
    snapshot = disk.snapshot(served=False)
    frozen, top = read(snapshot_path(disk.directory, snapshot)).header, disk.header
    assert (frozen.layer_id, frozen.frozen_by) == (before.uuid, snapshot)
    assert (top.parent_layer_id, top.frozen_by) == (before.uuid, "")
    assert (top.size, top.wrapped_dek, top.digest) == (SIZE, before.wrapped_dek, before.digest)
    assert not any(disk.path.read_bytes()[luks2.DATA_OFFSET :])


def test_a_snapshot_is_taken_once(disk: Disk) -> None:
    snapshot = disk.snapshot(served=False)
    files = sorted(disk.directory.iterdir())
    disk.take(snapshot, served=False)
    assert sorted(disk.directory.iterdir()) == files


def test_what_an_administrator_added_to_the_header_goes_on_in_the_new_layer(disk: Disk) -> None:
    keyslots = os.urandom(SECTOR)
    with disk.path.open("r+b") as file:
        file.seek(luks2.HEADER_LENGTH)
        file.write(keyslots)
        header = luks2.read(file.fileno())
        luks2.write(file.fileno(), header._replace(label="mine", sequence=2))
    disk.snapshot(served=False)
    assert disk.header.label == "mine"
    with disk.path.open("rb") as file:
        file.seek(luks2.HEADER_LENGTH)
        assert file.read(SECTOR) == keyslots


def test_a_volume_has_at_most_16_layers(disk: Disk) -> None:
    for _ in range(MAX_LAYERS - 1):
        disk.snapshot(served=False)
    with pytest.raises(ChainTooLong):
        disk.snapshot(served=False)
    assert len(chain(disk.directory, disk.id)) == MAX_LAYERS


def test_no_snapshot_is_taken_while_an_extension_is_unfinished(disk: Disk) -> None:
    with disk.path.open("r+b") as file:
        file.truncate(luks2.DATA_OFFSET + 2 * SIZE)
        longer = disk.header._replace(size=2 * SIZE, settled=SIZE, sequence=2)
        luks2.write(file.fileno(), longer)
    with pytest.raises(SizeDiffers):
        disk.snapshot(served=False)


def test_a_chain_without_one_of_its_layers_is_refused(
    written: tuple[Disk, list[str], bytes],
) -> None:
    disk, snapshots, _ = written
    snapshot_path(disk.directory, snapshots[1]).unlink()
    with pytest.raises(ChainBroken, match="missing"):
        chain(disk.directory, disk.id)


def test_a_reader_written_from_the_format_alone_reads_a_chain(
    written: tuple[Disk, list[str], bytes],
) -> None:
    disk, _, content = written
    readers = [Reader(layer.path, disk.dek) for layer in chain(disk.directory, disk.id)]
    for number in range(SIZE // SECTOR):
        expected = content[number * SECTOR : (number + 1) * SECTOR]
        found = next((r.sector(number) for r in readers if r.has(number)), bytes(SECTOR))
        assert found == expected
    for reader in readers:
        reader.close()


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("how", ["merge_up", "merge_down"])
def test_merging_either_way_leaves_volume_and_other_snapshots_as_they_were(
    written: tuple[Disk, list[str], bytes], how: str, number: int
) -> None:
    disk, snapshots, content = written
    held = {snapshot: disk.content(snapshot) for snapshot in snapshots}
    disk.unserve()
    layers = chain(disk.directory, disk.id)[::-1]
    getattr(merging, how)(layers[number], layers[number + 1])
    gone = snapshots.pop(number)
    assert not snapshot_path(disk.directory, gone).exists()
    assert disk.content() == content
    assert all(disk.content(snapshot) == held[snapshot] for snapshot in snapshots)
    assert len(chain(disk.directory, disk.id)) == 3


def test_a_layer_whose_data_can_not_be_found_is_not_taken_for_an_empty_one(
    written: tuple[Disk, list[str], bytes],
) -> None:
    disk, snapshots, content = written
    path = snapshot_path(disk.directory, snapshots[1])
    disk.unserve()
    failing = ("-P", str(path), "-e", "trace=lseek", "-e", "inject=lseek:error=EIO")
    removing = (sys.executable, "-c", REMOVE, str(disk.directory), snapshots[1])
    strace = ["strace", "-qq", "-o", "/dev/null", *failing, *removing]
    failed = subprocess.run(strace, capture_output=True, text=True)
    assert (failed.returncode, "Input/output error" in failed.stderr) == (1, True), failed.stderr
    assert path.exists()
    assert disk.content() == content


def test_merging_copies_ciphertext_as_it_is(written: tuple[Disk, list[str], bytes]) -> None:
    disk, snapshots, _ = written
    top = disk.path.read_bytes()[luks2.DATA_OFFSET :]
    lower = snapshot_path(disk.directory, snapshots[2]).read_bytes()[luks2.DATA_OFFSET :]
    disk.unserve()
    remove(disk.directory, snapshots[2])
    merged = disk.path.read_bytes()[luks2.DATA_OFFSET :]
    for at in range(0, SIZE, SECTOR):
        expected = top[at : at + SECTOR]
        assert merged[at : at + SECTOR] == (expected if any(expected) else lower[at : at + SECTOR])


def test_the_last_merge_leaves_a_header_as_it_was_before_the_first_snapshot(disk: Disk) -> None:
    before = disk.header
    remove(disk.directory, disk.snapshot(served=False))
    after = disk.header
    assert after.area == before.area
    assert after == before._replace(sequence=after.sequence)
    assert [path.name for path in disk.directory.iterdir()] == [disk.path.name]


def test_a_layer_that_two_stand_on_is_not_merged(written: tuple[Disk, list[str], bytes]) -> None:
    disk, snapshots, _ = written
    roll_back(disk.directory, disk.id, snapshots[0])
    with pytest.raises(LayerInUse):
        remove(disk.directory, snapshots[0])
    remove(disk.directory, snapshots[1])
    remove(disk.directory, snapshots[2])  # a leaf by now
    remove(disk.directory, snapshots[0])
    assert len(chain(disk.directory, disk.id)) == 1


def test_layers_of_two_volumes_are_not_merged(tmpfs: Path) -> None:
    one, other = Disk(tmpfs, SIZE), Disk(tmpfs, SIZE)
    lower = read(snapshot_path(tmpfs, one.snapshot(served=False)))
    with other.path.open("r+b") as file:
        clone = other.header._replace(
            layer_id=str(uuid.uuid4()), parent_layer_id=lower.header.layer_id, sequence=2
        )
        luks2.write(file.fileno(), clone)
    with pytest.raises(HeaderInvalid, match="another key"):
        merging.merge_up(lower, read(volume_path(tmpfs, other.id)))
    with pytest.raises(LayerInUse):
        remove(tmpfs, lower.header.frozen_by)


def test_a_rollback_leaves_an_extended_volume_its_size_and_can_be_repeated(disk: Disk) -> None:
    disk.open()
    disk.write(b"\1" * SECTOR, 0)
    disk.unserve()
    snapshot = disk.snapshot(served=False)
    disk.extend(2 * SIZE)
    for _ in range(2):
        disk.open()
        disk.write(b"\2" * 2 * SIZE, 0)
        disk.unserve()
        disk.roll_back(snapshot)
        assert disk.content() == (b"\1" * SECTOR).ljust(2 * SIZE, b"\0")
        disk.unserve()


def test_a_volume_that_is_served_is_not_rolled_back(disk: Disk) -> None:
    snapshot = disk.snapshot(served=False)
    with disk.path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(VolumeBusy):
            disk.roll_back(snapshot)


@pytest.mark.parametrize("operation", ["take", "merge up", "merge down", "roll back"])
def test_an_operation_that_ends_anywhere_loses_nothing_and_can_be_done_again(
    disk: Disk, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "_is_larger", lambda *_: operation == "merge down")
    disk.open()
    disk.write(b"\1" * SECTOR, SECTOR)
    content = disk.read(SIZE)
    disk.unserve()
    first, second = disk.snapshot(served=False), str(uuid.uuid4())
    works = {
        "take": lambda: disk.take(second, served=False),
        "roll back": lambda: disk.roll_back(first),
        "merge up": lambda: disk.remove(first),
        "merge down": lambda: disk.remove(first),
    }
    at = 0
    while crashing(at, works[operation]):
        finish(disk.directory, disk.id)
        assert disk.content() == content
        disk.unserve()
        at += 1
    assert at > 20
    assert disk.content() == content
