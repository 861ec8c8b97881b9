"""Disks made from snapshots: they read through, write to themselves, have keys of their own."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest

from evsd.layers.chain import MAX_LAYERS, ChainTooLong, chain, hidden_path, volume_path
from evsd.pools.pool import SizeDiffers, VolumeMissing
from evsd.serving.snapshots import Deferred
from nbd_plugin import luks2
from tests.support import libnbd
from tests.support.memory import writable_regions
from tests.support.served_disks import MIB, SIZE, ServedDisks

SECTOR = 4096


@pytest.fixture
def source(disks: ServedDisks) -> Iterator[tuple[str, str, bytes]]:
    """A disk with data, a snapshot of it, and what that holds."""
    disk = disks.create()
    disks.attach(disk)
    content = os.urandom(MIB)
    with disks.connection(disk) as handle:
        handle.pwrite(content, 0)
    [snapshot] = disks.snapshot(disk)
    with disks.connection(disk) as handle:
        handle.pwrite(bytes(MIB), 0)
    disks.detach(disk)
    yield disk, snapshot, content
    if volume_path(disks.directory, disk).exists():
        disks.snapshots.delete(disk)


def test_a_clone_reads_through_and_writes_to_itself(
    disks: ServedDisks, source: tuple[str, str, bytes]
) -> None:
    disk, snapshot, content = source
    clone = disks.clone(disk, snapshot, size=2 * SIZE)
    before = [layer.path.read_bytes() for layer in chain(disks.directory, clone)[1:]]
    disks.attach(clone)
    with disks.connection(clone) as handle:
        assert handle.get_size() == 2 * SIZE
        assert handle.pread(MIB, 0) == content
        handle.pwrite(b"\5" * 700, 300)  # over half of what is below
        handle.zero(SECTOR, 2 * SECTOR)
        expected = content[:300] + b"\5" * 700 + content[1000 : 2 * SECTOR]
        expected += bytes(SECTOR) + content[3 * SECTOR :]
        assert handle.pread(MIB, 0) == expected
        assert handle.pread(MIB, SIZE) == bytes(MIB)
    disks.detach(clone)
    assert disks.content(clone) == expected
    assert [layer.path.read_bytes() for layer in chain(disks.directory, clone)[1:]] == before
    assert disks.content(disk) == bytes(MIB)
    disks.snapshots.delete(clone)


def test_a_clone_of_a_clone_has_three_keys(
    disks: ServedDisks, source: tuple[str, str, bytes]
) -> None:
    disk, snapshot, content = source
    first = disks.clone(disk, snapshot)
    disks.attach(first)
    with disks.connection(first) as handle:
        handle.pwrite(b"\6" * SECTOR, SECTOR)
    [middle] = disks.snapshot(first)
    disks.detach(first)
    second = disks.clone(first, middle)
    assert [each.uuid for each in disks.snapshots.keys(second)] == [second, first, disk]
    disks.attach(second)
    with disks.connection(second) as handle:
        handle.pwrite(b"\7" * SECTOR, 3 * SECTOR)
        disks.snapshot(second)
        handle.pwrite(b"\10" * 512, 5 * SECTOR)
        expected = bytearray(content)
        expected[SECTOR : 2 * SECTOR] = b"\6" * SECTOR
        expected[3 * SECTOR : 4 * SECTOR] = b"\7" * SECTOR
        expected[5 * SECTOR : 5 * SECTOR + 512] = b"\10" * 512
        assert handle.pread(MIB, 0) == expected
    disks.detach(second)
    assert disks.content(second) == expected
    for clone in (second, first):
        disks.snapshots.delete(clone)


def test_two_clones_never_share_a_data_key(
    disks: ServedDisks, source: tuple[str, str, bytes]
) -> None:
    """Neither header nor server of the one has the other's."""
    disk, snapshot, content = source
    clones = [disks.clone(disk, snapshot) for _ in range(2)]
    deks = [disks.key_service.others[clone] for clone in clones]
    assert len({disks.header(each).wrapped_dek for each in (disk, *clones)}) == 3
    ciphertext = []
    for clone, own, other in zip(clones, deks, reversed(deks), strict=True):
        disks.attach(clone)
        with disks.connection(clone) as handle:
            handle.pwrite(content[:SECTOR], 0)
            regions = writable_regions(disks.process(clone).pid)
            held = b"".join(region.content for region in regions)
            assert own in held
            assert disks.dek in held
            assert other not in held
        disks.detach(clone)
        ciphertext.append(volume_path(disks.directory, clone).read_bytes()[luks2.DATA_OFFSET :])
    assert ciphertext[0][:SECTOR] != ciphertext[1][:SECTOR]
    for clone in clones:
        disks.snapshots.delete(clone)


def test_a_clone_lives_on_when_snapshot_and_source_are_deleted(
    disks: ServedDisks, source: tuple[str, str, bytes]
) -> None:
    disk, snapshot, content = source
    clone = disks.clone(disk, snapshot)
    with pytest.raises(Deferred):
        disks.snapshots.remove(disk, snapshot)
    disks.snapshots.delete(disk)
    assert disks.content(clone) == content
    assert hidden_path(disks.directory, snapshot).exists()
    assert disks.snapshots.strays({clone}) == []
    disks.snapshots.delete(clone)
    disks.snapshots.sweep()
    assert not any(name.startswith((disk, clone, snapshot)) for name in disks.files())


def test_a_clones_server_has_its_keys_on_one_ticket_that_is_withdrawn_with_it(
    disks: ServedDisks, source: tuple[str, str, bytes]
) -> None:
    disk, snapshot, _ = source
    clone = disks.clone(disk, snapshot)
    disks.attach(clone)
    releases = disks.releases()
    assert len(releases) == 2
    assert len({each.ticket_sha256 for each in releases}) == 1
    disks.detach(clone)
    assert disks.releases() == []
    disks.snapshots.delete(clone)


def test_what_can_not_be_a_clone_is_refused(
    disks: ServedDisks, source: tuple[str, str, bytes]
) -> None:
    disk, snapshot, _ = source
    with pytest.raises(SizeDiffers):
        disks.clone(disk, snapshot, size=SIZE // 2)
    with pytest.raises(VolumeMissing):
        disks.clone(disk, str(uuid.uuid4()))
    for _ in range(MAX_LAYERS - 2):
        [last] = disks.snapshot(disk)
    disks.snapshots.delete(disks.clone(disk, snapshot))
    [last] = [each.snapshot_id for each in disks.snapshots.usage(disk)[1:2]]
    clone = disks.clone(disk, last)
    with pytest.raises(ChainTooLong):
        disks.snapshot(clone)
    disks.snapshots.delete(clone)


def test_a_key_that_is_not_that_of_a_layer_is_not_used(
    disks: ServedDisks, source: tuple[str, str, bytes]
) -> None:
    """Its own key would make noise of it."""
    disk, snapshot, content = source
    clone = disks.clone(disk, snapshot)
    disks.key_service.others[disk] = os.urandom(64)
    disks.attach(clone)
    with pytest.raises(libnbd.load().Error), disks.connection(clone):
        pass
    del disks.key_service.others[disk]
    with disks.connection(clone) as handle:
        assert handle.pread(MIB, 0) == content
    disks.detach(clone)
    disks.snapshots.delete(clone)
