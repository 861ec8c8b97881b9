"""Snapshots of disks, as a service takes, deletes and goes back to them."""

from __future__ import annotations

import os
import signal
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from evsd.layers.chain import MAX_LAYERS, ChainTooLong, hidden_path, snapshot_path, volume_path
from evsd.pools.pool import HeaderInvalid, PoolError, VolumeBusy
from evsd.serving.failures import ServerFailed
from evsd.serving.snapshots import Deferred, NotAtOneMoment
from nbd_plugin import luks2
from tests.support.layered import at_line, crashing
from tests.support.served_disks import SIZE, ServedDisks
from tests.support.volume import eventually

SECTOR = 4096


def mark(number: int) -> bytes:
    """A sector that tells when it was written."""
    return bytes([number]) * SECTOR


@pytest.fixture
def disk(disks: ServedDisks) -> Iterator[str]:
    """A new one, which nobody serves."""
    made = disks.create()
    yield made
    record = disks.supervisor.records.of_disk(made)
    if record is not None:
        disks.supervisor.end(record.id)
    disks.snapshots.delete(made)


@pytest.fixture
def served(disks: ServedDisks, disk: str) -> str:
    """The same, served."""
    disks.attach(disk)
    return disk


def write(disks: ServedDisks, disk: str, number: int) -> None:
    """At the place of its number."""
    with disks.connection(disk) as handle:
        handle.pwrite(mark(number), number * SECTOR)


def layers_of(disks: ServedDisks, disk: str) -> list[str]:
    return [each.snapshot_id for each in disks.snapshots.usage(disk)]


def test_a_snapshot_is_on_disk_and_the_volume_goes_on(disks: ServedDisks, served: str) -> None:
    write(disks, served, 1)
    [made] = disks.snapshot(served)
    write(disks, served, 2)
    frozen = snapshot_path(disks.directory, made).read_bytes()[luks2.DATA_OFFSET :]
    assert any(frozen[SECTOR : 2 * SECTOR])
    assert not any(frozen[2 * SECTOR : 3 * SECTOR])
    assert disks.content(served)[SECTOR : 3 * SECTOR] == mark(1) + mark(2)


def test_a_snapshot_that_is_asked_for_again_is_taken_once(disks: ServedDisks, served: str) -> None:
    made = {served: str(uuid.uuid4())}
    disks.snapshots.take(made)
    disks.snapshots.take(made)
    assert layers_of(disks, served) == ["", made[served]]


def test_snapshots_of_a_served_disk_are_deleted_once_it_is_not(
    disks: ServedDisks, served: str
) -> None:
    made = []
    for number in range(4):
        write(disks, served, number)
        made += disks.snapshot(served)
    before = disks.content(served)
    for snapshot in (made[2], made[0]):
        with pytest.raises(Deferred):
            disks.snapshots.remove(served, snapshot)
        assert not snapshot_path(disks.directory, snapshot).exists()
    assert disks.content(served) == before
    assert layers_of(disks, served) == ["", made[3], "", made[1], ""]
    disks.detach(served)
    disks.snapshots.sweep()
    assert layers_of(disks, served) == ["", made[3], made[1]]
    assert disks.content(served) == before


def test_a_snapshot_takes_the_room_that_a_deleted_one_has_left_before_it_is_swept(
    disks: ServedDisks, disk: str
) -> None:
    made = [disks.snapshot(disk)[0] for _ in range(MAX_LAYERS - 1)]
    with pytest.raises(ChainTooLong):
        disks.snapshot(disk)
    disks.snapshots.hide(disk, made[7])
    [last] = disks.snapshot(disk)
    assert last in layers_of(disks, disk)


def test_going_back_to_a_snapshot_can_be_repeated(disks: ServedDisks, disk: str) -> None:
    disks.attach(disk)
    write(disks, disk, 1)
    [made] = disks.snapshot(disk)
    before = disks.content(disk)
    with pytest.raises(VolumeBusy):
        disks.snapshots.roll_back(disk, made)
    disks.detach(disk)
    for number in (2, 3):
        disks.attach(disk)
        write(disks, disk, number)
        disks.detach(disk)
        disks.snapshots.roll_back(disk, made)
        assert disks.content(disk) == before


def test_what_a_roll_back_dropped_is_removed_by_a_sweep(disks: ServedDisks, disk: str) -> None:
    """It can take a minute: the volume is there at once."""
    [made] = disks.snapshot(disk)
    before = disks.files()
    disks.snapshots.roll_back(disk, made)
    [dropped] = disks.files() - before
    assert dropped.endswith(".layer.deleting")
    assert dropped not in disks.pool.names()
    disks.snapshots.sweep()
    assert dropped not in disks.files()


def test_nothing_of_a_deleted_disk_is_left(disks: ServedDisks) -> None:
    before = disks.files()
    disk = disks.create()
    disks.attach(disk)
    made = [*disks.snapshot(disk), *disks.snapshot(disk)]
    with suppress(Deferred):
        disks.snapshots.remove(disk, made[0])
    with pytest.raises(VolumeBusy):
        disks.snapshots.delete(disk)
    disks.detach(disk)
    disks.snapshots.delete(disk)
    assert disks.files() == before


def test_usage_tells_the_bytes_of_each_layer(disks: ServedDisks, served: str) -> None:
    with disks.connection(served) as handle:
        handle.pwrite(os.urandom(2**20), 0)
    [made] = disks.snapshot(served)
    top, frozen = disks.snapshots.usage(served)
    assert (top.snapshot_id, frozen.snapshot_id) == ("", made)
    assert top.used < 2**17 < 2**20 <= frozen.used < 2**20 + 2**17
    assert (top.size, frozen.size) == (SIZE, SIZE)


def test_layers_of_no_known_disk_are_told(disks: ServedDisks, disk: str) -> None:
    disks.snapshots.take({disk: (made := str(uuid.uuid4()))})
    name = snapshot_path(disks.directory, made).name
    assert name not in disks.snapshots.strays({disk})
    assert name in disks.snapshots.strays(set())


def test_a_snapshot_of_another_disk_is_not_deleted(disks: ServedDisks, disk: str) -> None:
    other = disks.create()
    [made] = disks.snapshot(other)
    with pytest.raises(HeaderInvalid):
        disks.snapshots.remove(disk, made)
    assert snapshot_path(disks.directory, made).exists()
    assert not hidden_path(disks.directory, made).exists()
    disks.snapshots.delete(other)


@pytest.mark.parametrize("is_served", [False, True])
@pytest.mark.parametrize("operation", ["take", "take, then give up", "remove", "delete"])
def test_evsd_may_end_at_any_step_and_the_next_one_finishes(
    disks: ServedDisks, disk: str, operation: str, is_served: bool
) -> None:
    disks.attach(disk)
    write(disks, disk, 1)
    first, second = disks.snapshot(disk)[0], str(uuid.uuid4())
    write(disks, disk, 2)
    expected = disks.content(disk)
    if not is_served or operation == "delete":
        disks.detach(disk)
    at = 0
    while crashing(at, lambda: run(disks, disk, operation, first, second)):
        disks.snapshots.start()
        disks.snapshots.sweep()
        if operation == "delete" and not volume_path(disks.directory, disk).exists():
            break
        assert disks.content(disk) == expected
        at += 7 if is_served else 23
    run(disks, disk, operation, first, second)
    if operation != "delete":
        assert disks.content(disk) == expected


def run(disks: ServedDisks, disk: str, operation: str, first: str, second: str) -> None:
    if operation == "remove":
        with suppress(Deferred):
            disks.snapshots.remove(disk, first)
    elif operation == "delete":
        disks.snapshots.delete(disk)
    elif not hidden_path(disks.directory, second).exists():
        disks.snapshots.take({disk: second})
        if "give up" in operation:
            with suppress(Deferred):
                disks.snapshots.remove(disk, second)


def test_a_server_may_be_killed_at_any_step_of_a_snapshot(disks: ServedDisks, served: str) -> None:
    write(disks, served, 1)
    expected = disks.content(served)
    at, done = 0, False

    def kill() -> None:
        os.kill(disks.process(served).pid, signal.SIGKILL)

    snapshot = str(uuid.UUID(int=3))
    while not done:
        done = not at_line(at, lambda: take_or_fail(disks, served, snapshot), kill)
        eventually(lambda: disks.process(served).works)
        with suppress(Deferred):
            disks.snapshots.remove(served, snapshot)
        disks.detach(served)
        disks.snapshots.sweep()
        assert len(layers_of(disks, served)) == 1
        disks.attach(served)
        assert disks.content(served) == expected
        at += 12


def take_or_fail(disks: ServedDisks, disk: str, snapshot: str) -> None:
    with suppress(PoolError, ServerFailed):
        disks.snapshots.take({disk: snapshot})


def test_snapshots_of_several_disks_are_taken_at_one_moment(disks: ServedDisks) -> None:
    """A client writes a number to one disk, then to the other: none has a later one alone."""
    one, other = disks.create(), disks.create()
    for disk in (one, other):
        disks.attach(disk)
    done = threading.Event()

    def count() -> None:
        number = 0
        with disks.connection(one) as first, disks.connection(other) as second:
            while not done.is_set():
                number += 1
                for handle in (first, second):
                    handle.pwrite(number.to_bytes(512), 0)

    with ThreadPoolExecutor() as pool:
        counting = pool.submit(count)
        taken = [dict(zip((one, other), disks.snapshot(one, other), strict=True)) for _ in range(5)]
        done.set()
        counting.result(60)
    for disk in (one, other):
        disks.detach(disk)
    for snapshots in reversed(taken):
        numbers = []
        for disk, snapshot in snapshots.items():
            disks.snapshots.roll_back(disk, snapshot)
            numbers.append(int.from_bytes(disks.content(disk, 512)))
        assert numbers[0] - numbers[1] in (0, 1)
    for disk in (one, other):
        disks.snapshots.delete(disk)


def test_an_interrupted_set_of_snapshots_is_not_taken_for_one_of_one_moment(
    disks: ServedDisks,
) -> None:
    made = {disks.create(): str(uuid.uuid4()) for _ in range(2)}
    first = next(iter(made))
    disks.snapshots.take({first: made[first]})
    with pytest.raises(NotAtOneMoment):
        disks.snapshots.take(made)
    for disk, snapshot in made.items():
        disks.snapshots.remove(disk, snapshot)
        assert layers_of(disks, disk) == [""]
        disks.snapshots.delete(disk)


def test_a_disk_without_a_record_tells_its_snapshots(disks: ServedDisks, served: str) -> None:
    made = [*disks.snapshot(served), *disks.snapshot(served), *disks.snapshot(served)]
    with pytest.raises(VolumeBusy):
        disks.snapshots.recover(served)
    with suppress(Deferred):
        disks.snapshots.remove(served, made[1])
    disks.detach(served)
    found = disks.snapshots.recover(served)
    assert [(each.snapshot_id, each.size) for each in found] == [(made[0], SIZE), (made[2], SIZE)]


@pytest.mark.parametrize("lost", ["the lowest", "the top", "a part"])
def test_a_disk_that_is_not_whole_is_not_recovered(
    disks: ServedDisks, disk: str, lost: str
) -> None:
    [first], [second] = disks.snapshot(disk), disks.snapshot(disk)
    lowest, top = snapshot_path(disks.directory, first), volume_path(disks.directory, disk)
    if lost == "a part":
        os.truncate(lowest, SIZE)
    elif lost == "the lowest":
        lowest.unlink()
    else:
        snapshot_path(disks.directory, second).replace(top)
    with pytest.raises(HeaderInvalid, match=r"missing|truncated"):
        disks.snapshots.recover(disk)
