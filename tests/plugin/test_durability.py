"""Flush and FUA reach the disk; a full or failing pool reaches the client with its errno."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support import libnbd
from tests.support.faulty import failing, scripted, waiting_while
from tests.support.volume import MIB, Volume, eventually, new_volume

nbd = libnbd.load()
SECTOR = 4096


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 4 MiB, unmounted at the end."""
    directory = tmp_path / "disk"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)


@contextmanager
def traced(volume: Volume, trace: Path) -> Iterator[None]:
    """Count the server's fdatasync calls with strace."""
    volume.wrapper = ("strace", "-f", "-qq", "-e", "trace=fdatasync", "-o", str(trace))
    with volume.served():
        yield


def syncs(trace: Path) -> int:
    """Completed fdatasync calls so far."""
    return sum(line.endswith("= 0") for line in trace.read_text().splitlines())


@pytest.mark.parametrize("command", ["flush", "pwrite", "trim", "zero"])
def test_flush_and_fua_are_fdatasync(volume: Volume, tmp_path: Path, command: str) -> None:
    trace = tmp_path / "trace"
    with traced(volume, trace), volume.connected() as (handle,):
        handle.pwrite(b"x" * 4 * SECTOR, 0)
        assert syncs(trace) == 0
        fua = {
            "flush": lambda: handle.flush(),
            "pwrite": lambda: handle.pwrite(b"y" * 512, 0, nbd.CMD_FLAG_FUA),
            "trim": lambda: handle.trim(SECTOR, 0, nbd.CMD_FLAG_FUA),
            "zero": lambda: handle.zero(SECTOR, 0, nbd.CMD_FLAG_FUA),
        }
        fua[command]()
        assert syncs(trace) == 1


def test_the_last_close_flushes(volume: Volume, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    with traced(volume, trace):
        with volume.connected() as (handle,):
            handle.pwrite(b"x" * SECTOR, 0)
        eventually(lambda: syncs(trace) == 1)


def test_a_full_pool_is_enospc_and_other_sectors_stay(small_disk: Path, tmp_path: Path) -> None:
    with (
        new_volume(tmp_path, file=small_disk / "volume.luks") as volume,
        volume.served(),
        volume.connected() as (handle,),
    ):
        written = fill(handle)
        assert 2 * MIB < written < 4 * MIB
        with pytest.raises(nbd.Error) as partial:
            handle.pwrite(b"p" * 512, 12 * MIB)  # a partial sector in a hole needs space as well
        assert partial.value.errnum == errno.ENOSPC
        for offset in range(0, written, SECTOR):
            assert handle.pread(SECTOR, offset) == b"f" * SECTOR
        handle.pwrite(b"o" * SECTOR, 0)  # what has its space is still writable
        handle.trim(MIB, 0)
        handle.pwrite(b"n" * SECTOR, 12 * MIB)
        assert handle.pread(SECTOR, 12 * MIB) == b"n" * SECTOR


def fill(handle: Any) -> int:
    """Write sectors until there is no space; how many bytes went in."""
    offset = 0
    while True:
        try:
            handle.pwrite(b"f" * SECTOR, offset)
        except nbd.Error as error:
            if error.errnum != errno.ENOSPC:
                raise
            return offset
        offset += SECTOR


def test_a_file_truncated_under_the_server_is_eio(volume: Volume) -> None:
    with volume.served(), volume.connected() as (handle,):
        os.truncate(volume.path, MIB + SECTOR)
        assert handle.pread(SECTOR, 0) == bytes(SECTOR)
        for length, offset in ((SECTOR, SECTOR), (MIB, 0), (512, 8 * SECTOR)):
            with pytest.raises(nbd.Error) as failed:
                handle.pread(length, offset)
            assert failed.value.errnum == errno.EIO


def test_requests_beyond_the_end_are_refused(volume: Volume) -> None:
    end = volume.header.size
    with volume.served(), volume.connected() as (handle,):
        for refused, arguments in (
            (handle.pread, (SECTOR, end)),
            (handle.pread, (2 * SECTOR, end - SECTOR)),
            (handle.pwrite, (b"x" * SECTOR, end)),
        ):
            with pytest.raises(nbd.Error):
                refused(*arguments)
        assert handle.pread(SECTOR, end - SECTOR) == bytes(SECTOR)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """While this file exists, the pool of `on_bad_disk` fails."""
    return tmp_path / "broken"


@pytest.fixture
def on_bad_disk(volume: Volume, broken: Path, tmp_path: Path) -> Iterator[Volume]:
    """A volume whose file fails to read, write and sync while `broken` exists."""
    bad = f"[ -e {broken} ]"
    with failing(volume.path, tmp_path / "bad", pread=bad, pwrite=bad, flush=bad) as mounted:
        volume.path = mounted
        yield volume


@pytest.mark.parametrize("flush_first", [True, False], ids=["flush", "FUA"])
def test_after_a_failed_sync_no_connection_is_told_that_all_is_on_disk(
    on_bad_disk: Volume, broken: Path, flush_first: bool
) -> None:
    with on_bad_disk.served():
        with on_bad_disk.connected(2) as (one, two):
            two.pwrite(b"x" * SECTOR, SECTOR)
            one.pwrite(b"x" * SECTOR, 0)
            broken.touch()
            with pytest.raises(nbd.Error) as failed:
                one.flush()
            assert failed.value.errnum == errno.EIO
            broken.unlink()
            written_through = partial(two.pwrite, b"y" * SECTOR, SECTOR, nbd.CMD_FLAG_FUA)
            with pytest.raises(nbd.Error) as failed:
                (two.flush if flush_first else written_through)()
            assert failed.value.errnum == errno.EIO
        # A client that comes back by itself would send the flush again, and believe the answer.
        with on_bad_disk.connected() as (handle,), pytest.raises(nbd.Error) as failed:
            handle.flush()
        assert failed.value.errnum == errno.EIO
    with on_bad_disk.served(), on_bad_disk.connected() as (handle,):
        handle.flush()


def test_a_failing_disk_is_eio_and_other_sectors_stay(on_bad_disk: Volume, broken: Path) -> None:
    with on_bad_disk.served(), on_bad_disk.connected() as (handle,):
        for sector in range(8):
            handle.pwrite(bytes([sector]) * SECTOR, sector * SECTOR)
        broken.touch()
        for refused, arguments in (
            (handle.pwrite, (b"x" * SECTOR, 2 * SECTOR)),
            (handle.pwrite, (b"x" * 512, 4 * SECTOR + 512)),
            (handle.pwrite, (b"x" * 16 * SECTOR, 6 * SECTOR)),
            (handle.pread, (SECTOR, 8 * MIB)),
            (handle.pread, (MIB, 9 * MIB + 512)),
        ):
            with pytest.raises(nbd.Error) as failed:
                refused(*arguments)
            assert failed.value.errnum == errno.EIO
        broken.unlink()
        for sector in (0, 1, 3, 4, 5):
            assert handle.pread(SECTOR, sector * SECTOR) == bytes([sector]) * SECTOR
        handle.pwrite(b"n" * SECTOR, 2 * SECTOR)
        assert handle.pread(SECTOR, 2 * SECTOR) == b"n" * SECTOR


def test_flushes_that_come_together_share_a_sync(volume: Volume, tmp_path: Path) -> None:
    halt, log = tmp_path / "halt", tmp_path / "syncs"
    slow = f"echo sync >> {log}; {waiting_while(f'[ -e {halt} ]')}"
    with scripted(volume.path, tmp_path / "slow", flush=slow) as mounted:
        volume.path = mounted
        with volume.served(), volume.connected(8) as handles:
            handles[0].pwrite(b"x" * SECTOR, 0)
            halt.touch()
            cookies = [handle.aio_flush() for handle in handles]
            for handle in handles:  # what is answered was read after the flush
                assert handle.pread(SECTOR, SECTOR) == bytes(SECTOR)
            eventually(log.exists)
            halt.unlink()
            for handle, cookie in zip(handles, cookies, strict=True):
                while not handle.aio_command_completed(cookie):
                    handle.poll(1000)
            assert 0 < len(log.read_text().splitlines()) < len(handles)
