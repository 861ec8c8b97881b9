"""The rules of layers, one by one, in the compiled path over real files."""

from __future__ import annotations

import errno
import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbd_plugin import _datapath, luks2
from tests.plugin.test_data import encrypt
from tests.support.layered import FAST_ZERO, MAY_TRIM, Disk

SECTOR, UNIT, STRIPE = 4096, 512, 65536
SIZE = 40 * SECTOR
DATA = luks2.DATA_OFFSET
THREADS = 4


@pytest.fixture(params=["tmpfs", "tmp_path"])
def disk(request: pytest.FixtureRequest) -> Iterator[Disk]:
    """A thin volume, served; on tmpfs holes are read, elsewhere they are asked for."""
    made = Disk(request.getfixturevalue(request.param), SIZE)
    made.open()
    yield made
    made.close()


def ciphertext(disk: Disk, offset: int, length: int = SECTOR) -> bytes:
    """What the layer that is written to has there."""
    with disk.path.open("rb") as file:
        file.seek(DATA + offset)
        return file.read(length)


def allocated(disk: Disk, offset: int, length: int = SECTOR) -> bool:
    """Whether the layer that is written to has any data there."""
    fd = os.open(disk.path, os.O_RDONLY)
    try:
        return os.lseek(fd, DATA + offset, os.SEEK_DATA) < DATA + offset + length
    except OSError:
        return False
    finally:
        os.close(fd)


def extents(length: int = SIZE) -> list[tuple[int, bool]]:
    """Lengths, and whether they are holes; what is alike joined."""
    found: list[tuple[int, bool]] = []
    at = 0
    while at < length:
        for _, count, kind in _datapath.extents(None, length - at, at, 0):
            if found and found[-1][1] == bool(kind):
                count += found.pop()[0]
                found.append((count, bool(kind)))
            else:
                found.append((count, bool(kind)))
        at = sum(count for count, _ in found)
    return found


def test_an_absent_sector_is_looked_for_in_the_layers_below_and_is_zeros_below_the_last(
    disk: Disk,
) -> None:
    for number in range(4):
        disk.write(bytes([number + 1]) * SECTOR, number * SECTOR)
        disk.snapshot()
    expected = b"".join(bytes([n + 1]) * SECTOR for n in range(4)).ljust(SIZE, b"\0")
    for _ in range(2):  # the second time it is known where
        assert disk.read(SIZE) == expected
        assert disk.read(UNIT, SECTOR + 100) == b"\2" * UNIT


@pytest.mark.parametrize("count", [1, UNIT, 3 * UNIT, SECTOR - 1])
def test_a_partial_write_to_an_absent_sector_copies_up_all_of_it(disk: Disk, count: int) -> None:
    old = os.urandom(SECTOR)
    disk.write(old, SECTOR)
    disk.snapshot()
    disk.read(SIZE)
    assert not allocated(disk, 0, SIZE)
    new = os.urandom(count)
    disk.write(new, SECTOR)
    assert ciphertext(disk, SECTOR) == encrypt(disk.dek, new + old[count:], SECTOR)
    assert disk.read(SECTOR, SECTOR) == new + old[count:]


@pytest.mark.parametrize("how", ["trim", "zero", "zero and keep"])
def test_zeros_over_lower_data_are_ciphertext_and_holes_are_made_only_where_nothing_is_below(
    disk: Disk, how: str
) -> None:
    disk.write(b"\1" * 3 * SECTOR, 2 * SECTOR)
    disk.snapshot()
    disk.write(b"\2" * 10 * SECTOR, 0)
    if how == "trim":
        _datapath.trim(None, 10 * SECTOR, 0, 0)
    else:
        _datapath.zero(None, 10 * SECTOR, 0, MAY_TRIM if how == "zero" else 0)
    assert disk.read(10 * SECTOR) == bytes(10 * SECTOR)
    for sector in range(10):
        expected = encrypt(disk.dek, bytes(SECTOR), sector * SECTOR)
        on_tmpfs = disk.directory.is_relative_to("/dev/shm")
        if how != "zero and keep" or not on_tmpfs:  # which can't keep space without writing
            expected = expected if 2 <= sector < 5 else bytes(SECTOR)
        assert ciphertext(disk, sector * SECTOR) == expected
        if how != "zero and keep":
            assert allocated(disk, sector * SECTOR) == (2 <= sector < 5)


def test_trimming_writes_no_more_than_the_data_below(disk: Disk) -> None:
    disk.write(b"\1" * SECTOR, 17 * SECTOR)
    disk.snapshot()
    _datapath.trim(None, SIZE, 0, 0)
    there = [n for n in range(SIZE // SECTOR) if any(ciphertext(disk, n * SECTOR))]
    assert there == [17]


def test_trimming_a_part_of_a_sector_makes_zeros_of_it_and_keeps_its_neighbours(
    disk: Disk,
) -> None:
    disk.write(b"\1" * SECTOR, 0)
    disk.snapshot()
    _datapath.trim(None, 2 * UNIT, UNIT, 0)
    assert disk.read(SECTOR) == b"\1" * UNIT + bytes(2 * UNIT) + b"\1" * 5 * UNIT


def test_a_fast_zero_over_lower_data_is_refused_and_changes_nothing(disk: Disk) -> None:
    disk.write(b"\1" * SECTOR, 9 * SECTOR)
    disk.snapshot()
    disk.write(b"\2" * SECTOR, 0)
    with pytest.raises(OSError, match="not supported") as refused:
        _datapath.zero(None, SIZE, 0, MAY_TRIM | FAST_ZERO)
    assert refused.value.errno == errno.EOPNOTSUPP
    assert disk.read(SECTOR) == b"\2" * SECTOR
    _datapath.zero(None, 9 * SECTOR, 0, MAY_TRIM | FAST_ZERO)
    assert disk.read(10 * SECTOR) == bytes(9 * SECTOR) + b"\1" * SECTOR


def test_extents_are_those_of_the_whole_chain(disk: Disk) -> None:
    for sector in (3, 20, 30):
        disk.write(b"\1" * SECTOR, sector * SECTOR)
        disk.snapshot()
    _datapath.trim(None, SECTOR, 20 * SECTOR, 0)
    expected = [(3, True), (1, False), (16, True), (1, False), (9, True), (1, False), (9, True)]
    assert extents() == [(count * SECTOR, hole) for count, hole in expected]


def test_beyond_the_end_of_a_layer_on_the_way_everything_is_zeros(tmpfs: Path) -> None:
    fds = [os.memfd_create("layer") for _ in range(3)]
    disk = Disk(tmpfs, SIZE)
    sizes = [30 * SECTOR, 10 * SECTOR, 20 * SECTOR]  # from the lowest
    for fd, size in zip(fds, sizes, strict=True):
        os.ftruncate(fd, size)
    os.pwrite(fds[0], encrypt(disk.dek, b"\1" * 30 * SECTOR, 0), 0)
    disk.open()  # for its key
    _datapath.set_volume(fds[2], 0, sizes[2], True)
    for fd, size in zip(fds[:2], sizes[:2], strict=True):
        _datapath.add_layer(fd, 0, size)
    assert disk.read(sizes[2]) == b"\1" * 10 * SECTOR + bytes(10 * SECTOR)
    assert extents(sizes[2]) == [(10 * SECTOR, False), (10 * SECTOR, True)]
    disk.close()
    for fd in fds:
        os.close(fd)


def test_a_block_device_is_no_layer_nor_has_layers(disk: Disk) -> None:
    device = os.open("/dev/null", os.O_RDWR)
    with pytest.raises(OSError, match="Block device required"):
        _datapath.switch_layer(device, DATA, SIZE)
    with pytest.raises(OSError, match="Block device required"):
        _datapath.add_layer(device, DATA, SIZE)
    _datapath.set_volume(device, DATA, SIZE, True)
    file = os.memfd_create("layer")
    with pytest.raises(OSError, match="Block device required"):
        _datapath.switch_layer(file, DATA, SIZE)
    disk.open()
    os.close(file)
    os.close(device)


def test_there_are_at_most_16_layers(disk: Disk) -> None:
    for number in range(15):
        disk.write(bytes([number + 1]) * SECTOR, number * SECTOR)
        disk.snapshot()
    fd = os.memfd_create("layer")
    with pytest.raises(OSError, match="Too many links"):
        _datapath.switch_layer(fd, DATA, SIZE)
    os.close(fd)
    for number in range(15):
        assert disk.read(SECTOR, number * SECTOR) == bytes([number + 1]) * SECTOR


def test_a_smaller_layer_is_refused_and_the_volume_goes_on(disk: Disk) -> None:
    fd = os.memfd_create("layer")
    with pytest.raises(OSError, match="Invalid argument"):
        _datapath.switch_layer(fd, 0, SIZE - SECTOR)
    os.close(fd)
    disk.write(b"\1" * SECTOR, 0)
    assert disk.read(SECTOR) == b"\1" * SECTOR


def test_a_flush_after_a_switch_covers_what_was_written_before_it(disk: Disk) -> None:
    # fdatasync fails on a descriptor that is none any more: so it was asked.
    disk.write(b"\1" * SECTOR, 0)
    disk.snapshot()
    os.close(disk._fds[0])
    try:
        with pytest.raises(OSError, match="Bad file descriptor"):
            _datapath.flush(None, 0)
    finally:
        disk._fds.pop(0)


def test_a_thick_volumes_layer_keeps_its_space_and_reads_through_what_was_not_written(
    tmp_path: Path,
) -> None:
    disk = Disk(tmp_path, SIZE, thin=False)
    disk.open()
    disk.write(b"\1" * 2 * SECTOR, 0)
    disk.snapshot()
    assert disk.path.stat().st_blocks * 512 >= SIZE
    disk.write(b"\2" * UNIT, 0)
    _datapath.zero(None, SECTOR, SECTOR, MAY_TRIM)
    assert disk.read(3 * SECTOR) == b"\2" * UNIT + b"\1" * (SECTOR - UNIT) + bytes(2 * SECTOR)
    disk.close()


class Writer(threading.Thread):
    """Writes, trims and reads its own sectors, and notes what it read that was not right."""

    def __init__(self, disk: Disk, number: int, done: threading.Event) -> None:
        super().__init__()
        self._disk, self._done = disk, done
        self._sectors = range(number * SECTOR, SIZE, THREADS * SECTOR)
        self.last = dict.fromkeys(self._sectors, 0)
        self.wrong: list[int] = []

    def run(self) -> None:
        values = itertools.cycle(range(250))
        while not self._done.is_set():
            for at in self._sectors:
                self._write(at, next(values))

    def _write(self, at: int, value: int) -> None:
        size = UNIT if at % (2 * SECTOR) else SECTOR
        if value % 7:
            self._disk.write(bytes([value]) * size, at)
        else:
            value = 0
            _datapath.trim(None, SECTOR, at, 0)
        self.last[at] = value
        if self._disk.read(size, at) != bytes([value]) * size:
            self.wrong.append(at)


def test_what_is_answered_while_layers_are_switched_is_never_lost(disk: Disk) -> None:
    done = threading.Event()
    writers = [Writer(disk, number, done) for number in range(THREADS)]
    for writer in writers:
        writer.start()
    for _ in range(12):
        disk.snapshot()
    done.set()
    for writer in writers:
        writer.join()
        assert not writer.wrong
        assert all(disk.read(1, at)[0] == value for at, value in writer.last.items())
