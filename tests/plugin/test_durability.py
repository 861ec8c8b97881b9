"""Flush and FUA reach the disk; a full or failing pool reaches the client with its errno."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import libnbd
from tests.support.volume import MIB, Volume, new_volume

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
    with traced(volume, trace), volume.connected() as (handle,):
        handle.pwrite(b"x" * SECTOR, 0)
    assert syncs(trace) == 1, trace.read_text()


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
            assert error.errnum == errno.ENOSPC
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
