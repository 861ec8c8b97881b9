"""Where the data key is, and where not: read from the server's own memory, as root."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.memory import pieces, writable_memory, writable_regions
from tests.support.volume import MIB, Volume, eventually


def places(pid: int, dek: bytes) -> dict[str, int]:
    """How often the key and its halves are in a process's memory."""
    regions = writable_memory(pid)
    names = ("dek", "first quarter", "second quarter", "third quarter", "last quarter")
    needles = dict(zip(names, pieces(dek), strict=True))
    return {name: sum(r.count(needle) for r in regions) for name, needle in needles.items()}


NOWHERE = dict.fromkeys(
    ("dek", "first quarter", "second quarter", "third quarter", "last quarter"), 0
)


def test_the_key_is_in_memory_exactly_while_attached(volume: Volume) -> None:
    dek = volume.service.dek
    with volume.served() as process:
        assert places(process.pid, dek) == NOWHERE
        for _ in range(2):
            with volume.connected(2) as (first, second):
                first.pwrite(b"x" * MIB, 0)
                second.pwrite(b"x" * 512, 100)
                first.pread(MIB, 512)
                assert places(process.pid, dek)["dek"] == 1
            eventually(lambda: places(process.pid, dek) == NOWHERE)


def test_no_key_is_left_after_a_refusal(volume: Volume) -> None:
    volume.service.dek = dek = os.urandom(64)  # another key than the header's digest is of
    with volume.served() as process:
        for _ in range(3):
            with pytest.raises(Exception, match="nbd_connect"), volume.connection():
                pass
        assert places(process.pid, dek) == NOWHERE


def test_plaintext_of_a_merged_sector_is_wiped_with_the_key(volume: Volume) -> None:
    secret = os.urandom(256)
    with volume.served() as process:
        with volume.connected() as (handle,):
            handle.pwrite(secret, 1000)
        eventually(lambda: places(process.pid, volume.service.dek) == NOWHERE)
        # nbdkit's own buffers are not ours to wipe: one copy at most may be in a freed one.
        eventually(
            lambda: sum(region.count(secret) for region in writable_memory(process.pid)) <= 1
        )


def test_the_ticket_is_not_in_argv_or_environment(volume: Volume) -> None:
    with volume.served() as process:
        for name in ("cmdline", "environ"):
            assert (
                volume.service.ticket.encode()
                not in Path(f"/proc/{process.pid}/{name}").read_bytes()
            )


def test_the_ticket_pipe_is_closed_before_serving(volume: Volume) -> None:
    with volume.served() as process:
        targets = set()
        for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed in between
                targets.add(str(descriptor.readlink()))
    assert targets
    assert volume.ticket_pipe not in targets


def test_the_process_can_not_be_dumped_or_gain_privileges(volume: Volume) -> None:
    with volume.served() as process:
        status = Path(f"/proc/{process.pid}/status").read_text()
        limits = Path(f"/proc/{process.pid}/limits").read_text()
    assert "NoNewPrivs:\t1" in status
    (core,) = [line for line in limits.splitlines() if line.startswith("Max core file size")]
    assert core.split()[4:6] == ["0", "0"]


def test_the_page_of_the_key_is_locked_and_not_dumped(volume: Volume) -> None:
    dek = volume.service.dek
    with volume.served() as process, volume.connected():
        holding = [region for region in writable_regions(process.pid) if dek in region.content]
    assert [{"lo", "dd", "dc"} <= region.flags for region in holding] == [True]


def test_whatever_holds_a_part_of_the_key_is_locked(volume: Volume) -> None:
    with volume.served() as process, volume.connected(2) as handles:
        for handle in handles:
            handle.pwrite(b"x" * MIB, 512)
            handle.pread(MIB, 512)
        for region in writable_regions(process.pid):
            if any(piece in region.content for piece in pieces(volume.service.dek)):
                assert "lo" in region.flags
