"""What is read back, and what is on disk: against a byte array and against another XTS."""

from __future__ import annotations

import errno
import itertools
import json
import os
import random
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import XTS

from nbd_plugin import luks2
from tests.support import libnbd
from tests.support.faulty import scripted, waiting_while
from tests.support.volume import MIB, Volume, eventually, new_volume

nbd = libnbd.load()
SECTOR = 4096
GIB = 1024 * MIB


def encrypt(dek: bytes, plaintext: bytes, offset: int) -> bytes:
    """Another implementation's aes-xts-plain64, from a sector's start."""
    sectors = []
    for at in range(0, len(plaintext), SECTOR):
        tweak = ((offset + at) // 512).to_bytes(16, "little")
        encryptor = Cipher(AES(dek), XTS(tweak)).encryptor()
        sectors.append(encryptor.update(plaintext[at : at + SECTOR]) + encryptor.finalize())
    return b"".join(sectors)


def block_status(handle: Any, count: int, offset: int = 0, flags: int = 0) -> list[tuple[int, int]]:
    """Extents as (length, type)."""
    entries: list[int] = []

    def collect(context: str, _offset: int, found: list[int], _error: object) -> int:
        assert context == "base:allocation"
        entries.extend(found)
        return 0

    handle.block_status(count, offset, collect, flags)
    return list(zip(entries[::2], entries[1::2], strict=True))


# Ciphertext on disk.


@pytest.mark.parametrize("offset", [0, SECTOR, 7 * SECTOR, 65536 - SECTOR, 12 * MIB])
def test_ciphertext_is_aes_xts_plain64_of_4096_byte_sectors(volume: Volume, offset: int) -> None:
    plaintext = os.urandom(40 * SECTOR)
    with volume.served(), volume.connected() as (handle,):
        handle.pwrite(plaintext, offset)
        handle.flush()
        assert volume.ciphertext(offset, len(plaintext)) == encrypt(
            volume.service.dek, plaintext, offset
        )


@pytest.mark.parametrize("kind", ["volume", "thick"])
def test_a_part_of_a_sector_is_the_same_ciphertext_as_in_the_whole(
    request: pytest.FixtureRequest, kind: str
) -> None:
    changed: Volume = request.getfixturevalue(kind)
    content = bytearray(os.urandom(4 * SECTOR))
    with changed.served(), changed.connected() as (handle,):
        handle.pwrite(content, MIB)
        for first, last in itertools.combinations(range(0, SECTOR + 1, 512), 2):
            at, end = 2 * SECTOR + first, 2 * SECTOR + last
            content[at:end] = part = os.urandom(end - at)
            handle.pwrite(part, MIB + at)
            assert handle.pread(len(content), MIB) == content
            ciphertext = encrypt(changed.service.dek, bytes(content), MIB)
            assert changed.ciphertext(MIB, len(content)) == ciphertext


def test_any_bytes_of_a_sector_are_the_same_ciphertext_as_in_the_whole(volume: Volume) -> None:
    chance = random.Random(1)  # noqa: S311
    content = bytearray(4 * SECTOR)
    with volume.served(), volume.connected() as (handle,):
        for _ in range(300):
            at = chance.randrange(len(content))
            part = chance.randbytes(chance.choice([1, 1, 15, 17, 511, 4097]))[: len(content) - at]
            handle.pwrite(part, MIB + at)
            content[at : at + len(part)] = part
            assert handle.pread(len(part) + 1, MIB + at - 1)[1:] == part
        assert handle.pread(len(content), MIB) == content
        ciphertext = encrypt(volume.service.dek, bytes(content), MIB)
        assert volume.ciphertext(MIB, len(content)) == ciphertext


def test_a_part_of_a_hole_leaves_zeros_around_it(volume: Volume) -> None:
    expected = bytearray(SECTOR)
    with volume.served(), volume.connected() as (handle,):
        for unit in (5, 0, 6, 7, 1):
            expected[unit * 512 : unit * 512 + 512] = part = os.urandom(512)
            handle.pwrite(part, MIB + unit * 512)
            assert handle.pread(SECTOR, MIB) == expected
        dek = volume.service.dek
        assert volume.ciphertext(MIB, SECTOR) == encrypt(dek, bytes(expected), MIB)


def test_ciphertext_beyond_4_gib_has_the_right_tweak(tmp_path: Path) -> None:
    offset = 5 * 1024 * MIB + SECTOR
    with new_volume(tmp_path, size=6 * 1024 * MIB) as big:
        with big.served(), big.connected() as (handle,):
            handle.pwrite(b"x" * SECTOR, offset)
        assert big.ciphertext(offset, SECTOR) == encrypt(big.service.dek, b"x" * SECTOR, offset)


def test_ciphertext_written_by_another_implementation_is_read(volume: Volume) -> None:
    plaintext = os.urandom(16 * SECTOR)
    with volume.path.open("r+b") as file:
        file.seek(luks2.DATA_OFFSET + 3 * SECTOR)
        file.write(encrypt(volume.service.dek, plaintext, 3 * SECTOR))
    with volume.served(), volume.connected() as (handle,):
        assert handle.pread(len(plaintext), 3 * SECTOR) == plaintext


def test_the_header_is_never_touched_by_data(volume: Volume) -> None:
    before = volume.path.read_bytes()[: luks2.DATA_OFFSET]
    with volume.served(), volume.connected() as (handle,):
        handle.pwrite(os.urandom(MIB), 0)
        handle.zero(MIB, 0)
        handle.trim(MIB, 0)
    assert volume.path.read_bytes()[: luks2.DATA_OFFSET] == before


def test_an_image_copied_in_and_out_is_the_same(volume: Volume, tmp_path: Path) -> None:
    image, copy = tmp_path / "image", tmp_path / "copy"
    image.write_bytes(
        os.urandom(3 * MIB) + bytes(4 * MIB) + os.urandom(volume.header.size - 7 * MIB)
    )
    with volume.served():
        subprocess.run(["nbdcopy", image, volume.uri], check=True)
        subprocess.run(["nbdcopy", volume.uri, copy], check=True)
        assert copy.read_bytes() == image.read_bytes()
        compared = subprocess.run(
            ["qemu-img", "compare", "-f", "raw", "-F", "raw", str(image), volume.uri],
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Images are identical" in compared.stdout


def test_qemu_io_verifies_its_patterns(volume: Volume) -> None:
    commands = ["write -P 0xa5 512 512", "write -P 0x5a 1024 8192", "read -P 0xa5 512 512"]
    commands += ["read -P 0x5a 1024 8192", "write -z 4096 4096", "read -P 0 4096 4096", "flush"]
    commands += ["write -P 7 8191 3", "read -P 7 8191 3", "read -P 0 8190 1", "read -P 0x5a 8194 9"]
    with volume.served():
        done = subprocess.run(
            ["qemu-io", "-f", "raw", *(f"-c{command}" for command in commands), volume.uri],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout
    assert "verification failed" not in done.stdout


def test_pages_that_are_not_cached_are_read_from_disk(volume: Volume) -> None:
    plaintext = os.urandom(4 * MIB)
    with volume.served(), volume.connected() as (handle,):
        handle.pwrite(plaintext, 0)
        handle.flush()
        for offset in range(0, 4 * MIB, 64 * 1024 + 512):
            with volume.path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            assert handle.pread(1024, offset) == plaintext[offset : offset + 1024]


# Thin and thick.


def test_a_new_thin_volume_reads_as_zeros_and_takes_no_space(volume: Volume) -> None:
    with volume.served(), volume.connected() as (handle,):
        assert handle.pread(MIB, 0) == bytes(MIB)
        assert block_status(handle, volume.header.size) == [(volume.header.size, 3)]
    assert volume.path.stat().st_blocks * 512 < 64 * 1024


@pytest.mark.parametrize("command", ["trim", "zero"])
def test_trim_and_zero_punch_holes(volume: Volume, command: str) -> None:
    with volume.served(), volume.connected() as (handle,):
        handle.pwrite(os.urandom(4 * MIB), 0)
        handle.flush()
        full = volume.path.stat().st_blocks
        getattr(handle, command)(2 * MIB, MIB)
        assert handle.pread(2 * MIB, MIB) == bytes(2 * MIB)
        assert full - volume.path.stat().st_blocks >= 2 * MIB // 512
        assert block_status(handle, 4 * MIB) == [(MIB, 0), (2 * MIB, 3), (MIB, 0)]
    assert volume.ciphertext(MIB, 2 * MIB) == bytes(2 * MIB)


def test_zero_without_hole_keeps_the_space(volume: Volume, tmpfs: Path) -> None:
    with new_volume(tmpfs, size=4 * MIB) as on_tmpfs:
        for made in (volume, on_tmpfs):
            with made.served(), made.connected() as (handle,):
                handle.pwrite(os.urandom(MIB), 0)
                handle.flush()
                before = made.path.stat().st_blocks
                handle.zero(MIB, 0, nbd.CMD_FLAG_NO_HOLE)
                assert handle.pread(MIB, 0) == bytes(MIB)
                assert made.path.stat().st_blocks >= before


def test_a_fast_zero_that_would_be_slow_is_refused_and_changes_nothing(
    thick: Volume, tmpfs: Path
) -> None:
    with new_volume(tmpfs, size=4 * MIB) as no_zero_range:
        for made in (thick, no_zero_range):
            with made.served(), made.connected() as (handle,):
                handle.pwrite(b"x" * 3 * SECTOR, 0)
                with pytest.raises(nbd.Error, match="not supported"):
                    handle.zero(2 * SECTOR, 100, nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE)
                assert handle.pread(3 * SECTOR, 0) == b"x" * 3 * SECTOR


def test_a_fast_zero_that_punches_is_done(volume: Volume) -> None:
    with volume.served(), volume.connected() as (handle,):
        handle.pwrite(b"x" * 3 * SECTOR, 0)
        handle.zero(2 * SECTOR, 0, nbd.CMD_FLAG_FAST_ZERO)
        assert handle.pread(3 * SECTOR, 0) == bytes(2 * SECTOR) + b"x" * SECTOR


@pytest.mark.parametrize("command", ["trim", "zero"])
def test_trim_and_zero_of_parts_of_sectors_spare_their_neighbours(
    volume: Volume, command: str
) -> None:
    with volume.served(), volume.connected() as (handle,):
        handle.pwrite(b"x" * 4 * SECTOR, 0)
        getattr(handle, command)(2 * SECTOR, 512)
        assert handle.pread(4 * SECTOR, 0) == b"x" * 512 + bytes(2 * SECTOR) + b"x" * 7680
        getattr(handle, command)(100, 3 * SECTOR + 1000)
        assert handle.pread(SECTOR, 3 * SECTOR) == b"x" * 1000 + bytes(100) + b"x" * 2996


def test_trim_of_a_part_of_a_hole_leaves_it_one(volume: Volume) -> None:
    with volume.served(), volume.connected() as (handle,):
        handle.trim(SECTOR, 512)
        assert handle.pread(2 * SECTOR, 0) == bytes(2 * SECTOR)
    assert volume.ciphertext(0, 2 * SECTOR) == bytes(2 * SECTOR)


def test_zeros_on_a_thick_volume_are_ciphertext(thick: Volume) -> None:
    with thick.served(), thick.connected() as (handle,):
        handle.zero(MIB, 0)
        assert handle.pread(MIB, 0) == bytes(MIB)
        assert block_status(handle, MIB) == [(MIB, 0)]
    assert thick.ciphertext(0, MIB) == encrypt(thick.service.dek, bytes(MIB), 0)


def test_zeros_written_to_a_thin_volume_are_ciphertext_too(volume: Volume) -> None:
    with volume.served(), volume.connected() as (handle,):
        handle.pwrite(bytes(SECTOR), 0)
    assert volume.ciphertext(0, SECTOR) == encrypt(volume.service.dek, bytes(SECTOR), 0)


# Block devices.


@pytest.fixture
def on_device(volume: Volume) -> Iterator[Volume]:
    """A volume on a loop device."""
    made = subprocess.run(
        ["losetup", "--find", "--show", str(volume.path)],
        capture_output=True,
        text=True,
        check=True,
    )
    device = made.stdout.strip()
    try:
        volume.path = Path(device)
        yield volume
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


def test_a_block_device_is_a_pool_too(on_device: Volume) -> None:
    with on_device.served(), on_device.connected() as (handle,):
        assert handle.get_size() == on_device.header.size
        handle.pwrite(b"x" * MIB, 512)
        assert handle.pread(MIB, 512) == b"x" * MIB
        handle.trim(4 * SECTOR, SECTOR)
        handle.zero(4 * SECTOR, 8 * SECTOR, nbd.CMD_FLAG_NO_HOLE)
        with pytest.raises(nbd.Error, match="not supported"):
            handle.zero(SECTOR, 0, nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FAST_ZERO)
        for offset in (SECTOR, 8 * SECTOR):
            assert handle.pread(4 * SECTOR, offset) == bytes(4 * SECTOR)
        assert block_status(handle, MIB) == [(MIB, 0)]
        handle.flush()


# Extents.


def test_extents_are_of_whole_sectors_but_of_no_more_than_was_asked_for(volume: Volume) -> None:
    with volume.served(), volume.connected() as (handle,):
        handle.pwrite(b"x", 5 * SECTOR + 100)
        assert block_status(handle, 16 * SECTOR) == [(5 * SECTOR, 3), (SECTOR, 0), (10 * SECTOR, 3)]
        assert block_status(handle, 1024, 5 * SECTOR + 512) == [(1024, 0)]
        assert block_status(handle, SECTOR + 2, 5 * SECTOR - 1) == [(1, 3), (SECTOR, 0), (1, 3)]


@pytest.fixture(params=[True, False], ids=["thin", "thick"])
def large(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Volume]:
    """A volume of more than 4 GiB, with data in its sixth."""
    with (
        new_volume(tmp_path, size=6 * GIB, thin=request.param) as made,
        made.served(),
        made.connected() as (handle,),
    ):
        handle.pwrite(b"x" * SECTOR, 5 * GIB)
        yield made


def test_extents_of_nearly_4_gib_are_multiples_of_the_minimum_block_and_not_too_long(
    large: Volume,
) -> None:
    counts = [2**32 - 1, 2**32 - 512, 2**32 - SECTOR, 2**32 - 65536 - 1]
    with large.connected() as (handle,):
        minimum = handle.get_block_size(nbd.SIZE_MINIMUM)
        for count, offset in itertools.product(counts, [0, 1, 512, SECTOR, GIB, 2 * GIB]):
            extents = block_status(handle, count, offset)
            assert all(length % minimum == 0 < length for length, _ in extents)
            assert sum(length for length, _ in extents) == count


def test_stock_nbdinfo_maps_a_volume_of_more_than_4_gib(large: Volume) -> None:
    words = ["nbdinfo", "--map", "--json", large.uri]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    hole, data = {"type": 3, "description": "hole,zero"}, {"type": 0, "description": "data"}
    expected = [
        {"offset": 0, "length": 5 * GIB, **hole},
        {"offset": 5 * GIB, "length": SECTOR, **data},
        {"offset": 5 * GIB + SECTOR, "length": GIB - SECTOR, **hole},
    ]
    if not large.header.thin:
        expected = [{"offset": 0, "length": 6 * GIB, **data}]
    assert json.loads(done.stdout) == expected


def test_one_extent_is_given_where_one_is_asked_for(volume: Volume) -> None:
    with volume.served(), volume.connected() as (handle,):
        handle.pwrite(b"x" * SECTOR, SECTOR)
        assert block_status(handle, 16 * SECTOR, 0, nbd.CMD_FLAG_REQ_ONE) == [(SECTOR, 3)]


def test_extents_agree_with_the_data_whatever_the_pattern(volume: Volume) -> None:
    sectors = volume.header.size // SECTOR
    with volume.served(), volume.connected() as (handle,):
        for sector in range(0, sectors, 2):  # more extents than one answer holds
            handle.pwrite(b"x" * SECTOR, sector * SECTOR)
        handle.flush()
        offset, kinds = 0, []
        while offset < volume.header.size:
            for length, kind in block_status(handle, volume.header.size - offset, offset):
                kinds += [kind] * (length // SECTOR)
                offset += length
        assert kinds == [0, 3] * (sectors // 2)


@pytest.fixture
def small_blocks(tmp_path: Path) -> Iterator[Path]:
    """A filesystem with blocks of 1024 bytes, a quarter of a sector."""
    image, directory = tmp_path / "ext4", tmp_path / "mounted"
    with image.open("wb") as file:
        file.truncate(32 * MIB)
    directory.mkdir()
    subprocess.run(["mkfs.ext4", "-q", "-b", "1024", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)


def test_a_sector_of_which_a_part_is_allocated_is_data(small_blocks: Path, tmp_path: Path) -> None:
    with new_volume(tmp_path, size=4 * MIB, file=small_blocks / "volume.luks") as volume:
        with volume.path.open("r+b") as file:
            file.seek(luks2.DATA_OFFSET + 5 * SECTOR + 2048)
            file.write(b"c" * 1024)
        with volume.served(), volume.connected() as (handle,):
            assert block_status(handle, 8 * SECTOR) == [
                (5 * SECTOR, 3),
                (SECTOR, 0),
                (2 * SECTOR, 3),
            ]
            assert block_status(handle, 512, 5 * SECTOR)[0][1] == 0


def test_extents_of_a_file_truncated_under_the_server_are_no_hole(volume: Volume) -> None:
    with volume.served(), volume.connected() as (handle,):
        os.truncate(volume.path, 2 * MIB)
        with pytest.raises(nbd.Error) as failed:
            block_status(handle, MIB, 2 * MIB)
        assert failed.value.errnum == errno.EIO


# Concurrency.


def run_all(tasks: list[Callable[[], None]]) -> None:
    """Run in threads; the first failure is raised."""
    failures: list[BaseException] = []

    def guarded(task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


# Of several sectors, whose ends are parts of one.
LARGE = 9 * SECTOR + 512


@pytest.mark.parametrize("length", [1, 512, LARGE - 1, LARGE])
def test_neighbours_in_one_sector_never_lose_an_update(volume: Volume, length: int) -> None:
    def owner(handle: Any, slot: int) -> None:
        for turn in range(250):
            mine = bytes([slot * 16 + turn % 16]) * length
            handle.pwrite(mine, slot * length)
            assert handle.pread(length, slot * length) == mine

    with volume.served(), volume.connected(8) as handles:
        run_all([partial(owner, handle, slot) for slot, handle in enumerate(handles)])


def test_a_whole_sector_written_beside_partial_writes_is_not_undone(volume: Volume) -> None:
    stop = threading.Event()

    def part(handle: Any) -> None:
        while not stop.is_set():
            handle.pwrite(b"p" * LARGE, 1024)

    def whole(handle: Any) -> None:
        try:
            for turn in range(1, 600):
                kind = turn % 3
                if kind == 0:
                    handle.zero(SECTOR, 0)
                elif kind == 1:
                    handle.trim(SECTOR, 0)
                else:
                    handle.pwrite(bytes([turn % 251]) * SECTOR, 0)
                expected = bytes([0 if kind < 2 else turn % 251])
                assert handle.pread(1024, 0) == expected * 1024
        finally:
            stop.set()

    with volume.served(), volume.connected(4) as handles:
        run_all([partial(whole, handles[0]), *(partial(part, handle) for handle in handles[1:])])


def test_a_reader_never_sees_noise_while_a_hole_is_filled(volume: Volume) -> None:
    stop = threading.Event()
    # The written bytes are at the end of each sector, the ones watched before them.
    watched = SECTOR - 512

    def fill(handle: Any) -> None:
        try:
            for _ in range(300):
                for sector in range(10):
                    handle.pwrite(b"w" * 512, sector * SECTOR + watched)
                handle.trim(10 * SECTOR, 0)
        finally:
            stop.set()

    def look(handle: Any) -> None:
        while not stop.is_set():
            found = handle.pread(10 * SECTOR, 0)
            for sector in range(10):
                assert found[sector * SECTOR : sector * SECTOR + watched] == bytes(watched)

    with volume.served(), volume.connected(4) as handles:
        run_all([partial(fill, handles[0]), *(partial(look, handle) for handle in handles[1:])])


def test_overlapping_ranges_of_many_stripes_do_not_deadlock(volume: Volume) -> None:
    def work(handle: Any, seed: int) -> Callable[[], None]:
        def run() -> None:
            for turn in range(40):
                offset = (seed * 37 + turn * 53) % 97 * 4000
                handle.zero(8 * MIB, offset)
                handle.pwrite(b"x" * 300000, offset + 100)
                handle.trim(4 * MIB, offset + 1000)

        return run

    with volume.served(), volume.connected(4) as handles:
        run_all([work(handle, seed) for seed, handle in enumerate(handles)])


# Slow pools.


def test_small_reads_wait_for_a_slow_pool_side_by_side(volume: Volume, tmp_path: Path) -> None:
    # Of eight reads none is answered before four are under way.
    first, came = 4 * MIB, tmp_path / "came"
    came.mkdir()
    few = f"( set -- {came}/*; [ $# -lt 4 ] )"
    meet = f"[ $4 -lt {first} ] || {{ touch {came}/$(( $4 / {MIB} )); {waiting_while(few)}; }}"
    with (
        scripted(volume.path, tmp_path / "slow", pread=meet) as volume.path,
        volume.served(),
        volume.connected(8) as handles,
    ):
        run_all(
            [
                partial(handle.pread, SECTOR, first + number * MIB)
                for number, handle in enumerate(handles)
            ]
        )


def test_small_writes_to_a_slow_pool_hold_up_nobody_else(volume: Volume, tmp_path: Path) -> None:
    # FUSE itself lets the writes of one file wait for each other, so a read tells.
    shut, came = tmp_path / "shut", tmp_path / "came"
    gate = f"sleep 0.3; touch {came}; {waiting_while(f'[ -e {shut} ]')}"
    answered: list[Any] = []
    with (
        scripted(volume.path, tmp_path / "slow", pwrite=gate) as volume.path,
        volume.served(),
        volume.connected(4) as (reader, *writers),
    ):
        reader.pread(SECTOR, 8 * MIB)  # is in the page cache from now on
        for _ in range(2):  # the first tells that RWF_NOWAIT does not work, the second how slow
            writers[0].pwrite(b"x" * SECTOR, 0)

        def write(handle: Any) -> None:
            handle.pwrite(b"y" * SECTOR, MIB)
            answered.append(handle)

        def read_meanwhile() -> None:
            try:
                eventually(came.exists)
                for _ in range(10):
                    reader.pread(SECTOR, 8 * MIB)
                assert not answered
            finally:
                shut.unlink()

        came.unlink()
        shut.touch()
        run_all([*(partial(write, handle) for handle in writers), read_meanwhile])
        assert len(answered) == len(writers)
