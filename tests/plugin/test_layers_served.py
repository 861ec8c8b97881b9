"""A volume with layers behind a real server: started with a chain, and switched while it serves."""

from __future__ import annotations

import os
import subprocess
import threading
import uuid
from pathlib import Path

import pytest

from evsd.layers.chain import chain, read, snapshot_path, volume_path
from evsd.layers.merging import remove
from evsd.pools.file import FilePool
from evsd.pools.pool import VolumeBusy
from nbd_plugin import luks2
from tests.support import libnbd
from tests.support.control import Controlled, controlled
from tests.support.volume import MIB, Volume, eventually

nbd = libnbd.load()

SECTOR = 4096
SNAPSHOTS = [str(uuid.UUID(int=number + 1)) for number in range(4)]


def directory(volume: Volume) -> Path:
    """Of its files."""
    return volume.path.parent


def start_refused(volume: Volume) -> str:
    """What a server that does not start says."""
    process = volume.start()
    assert process.wait(60) != 0
    return volume.log.read_text()


def test_a_snapshot_of_a_served_volume_is_taken_while_its_client_writes(volume: Volume) -> None:
    before, after = os.urandom(MIB), os.urandom(3 * SECTOR)
    with controlled(volume) as served, served.volume.served():
        with served.volume.connection() as handle:
            handle.pwrite(before, 0)
            served.take(SNAPSHOTS[0])
            handle.pwrite(after, 100)
            expected = before[:100] + after + before[100 + len(after) :]
            assert handle.pread(MIB, 0) == expected
            handle.flush()
        # The layer was handed over: another connection finds it, though its name is new.
        with served.volume.connection() as handle:
            assert handle.pread(MIB, 0) == expected
    with (
        controlled(served.volume) as again,
        again.volume.served(),
        again.volume.connection() as handle,
    ):
        assert handle.pread(MIB, 0) == expected
    frozen = read(snapshot_path(directory(served.volume), SNAPSHOTS[0])).path
    assert frozen.stat().st_size == luks2.DATA_OFFSET + volume.header.size


def test_a_snapshot_is_taken_of_a_server_without_clients(volume: Volume) -> None:
    with controlled(volume) as served, served.volume.served():
        with served.volume.connection() as handle:
            handle.pwrite(b"\1" * SECTOR, 0)
        served.take(SNAPSHOTS[0])
        with served.volume.connection() as handle:
            handle.pwrite(b"\2" * SECTOR, SECTOR)
        served.take(SNAPSHOTS[1])
        with served.volume.connection() as handle:
            assert handle.pread(3 * SECTOR, 0) == b"\1" * SECTOR + b"\2" * SECTOR + bytes(SECTOR)
    assert len(chain(directory(served.volume), volume.header.uuid)) == 3


def test_nbdcopy_reads_a_chain_as_it_was_written(volume: Volume, tmp_path: Path) -> None:
    content = bytearray(volume.header.size)
    with controlled(volume) as served, served.volume.served():
        with served.volume.connection() as handle:
            for number, snapshot in enumerate(SNAPSHOTS):
                at = number * MIB + 512 * number
                content[at : at + MIB] = part = os.urandom(MIB)
                handle.pwrite(part, at)
                served.take(snapshot)
            handle.trim(MIB, MIB)
            content[MIB : 2 * MIB] = bytes(MIB)
        copy = tmp_path / "copy"
        subprocess.run(["nbdcopy", served.volume.uri, copy], check=True, timeout=60)
    assert copy.read_bytes() == content


def test_a_switch_that_was_done_is_not_done_again(volume: Volume) -> None:
    with controlled(volume) as served, served.volume.served(), served.volume.connection() as handle:
        served.take(SNAPSHOTS[0])
        top = volume_path(directory(served.volume), volume.header.uuid)
        fd = os.open(top, os.O_RDWR)
        handle.pwrite(b"\1" * SECTOR, 0)
        first = served.ask("switch", fd)
        assert first == {"layer_id": read(top).header.layer_id, "size": volume.header.size}
        assert handle.pread(SECTOR, 0) == b"\1" * SECTOR
        os.close(fd)


def test_what_is_no_layer_over_the_volume_is_refused_and_changes_nothing(volume: Volume) -> None:
    with controlled(volume) as served, served.volume.served(), served.volume.connection() as handle:
        handle.pwrite(b"\1" * SECTOR, 0)
        for file in (os.memfd_create("no header"), os.open(volume.service.socket.parent, 0)):
            assert "error" in served.ask("switch", file)
            os.close(file)
        status = served.ask("status")
        assert status == {"layer_id": volume.header.uuid, "size": volume.header.size}
        assert "error" in served.ask("switch")
        assert "error" in served.ask("destroy")
        assert handle.pread(SECTOR, 0) == b"\1" * SECTOR


def test_who_does_not_know_the_ticket_can_not_control_the_server(volume: Volume) -> None:
    with controlled(volume) as served, served.volume.served():
        assert "not this server's ticket" in served.ask("status", ticket="another")["error"]


def test_a_server_is_not_started_without_all_layers_of_the_volume(volume: Volume) -> None:
    with controlled(volume) as served, served.volume.served():
        for snapshot in SNAPSHOTS[:2]:
            served.take(snapshot)
    snapshot_path(directory(served.volume), SNAPSHOTS[0]).rename(directory(volume) / "elsewhere")
    alone = served.volume
    alone.arguments, alone.inherited = (), ()
    assert "is missing" in start_refused(alone)


def test_layers_are_not_merged_while_a_server_has_them(volume: Volume) -> None:
    with controlled(volume) as served, served.volume.served(), served.volume.connection():
        served.take(SNAPSHOTS[0])
        with pytest.raises(VolumeBusy):
            remove(directory(served.volume), SNAPSHOTS[0])


def test_a_merged_volume_is_a_plain_one_again(volume: Volume) -> None:
    content = os.urandom(MIB)
    with controlled(volume) as served, served.volume.served(), served.volume.connection() as handle:
        handle.pwrite(content[: MIB // 2], 0)
        served.take(SNAPSHOTS[0])
        handle.pwrite(content[MIB // 2 :], MIB // 2)
    remove(directory(served.volume), SNAPSHOTS[0])
    header = read(served.volume.path).header
    assert (header.layer_id, header.parent_layer_id) == ("", "")
    plain = served.volume
    plain.arguments, plain.inherited = (), ()
    with plain.served(), plain.connection() as handle:
        assert handle.pread(MIB, 0) == content


def test_a_volume_that_grew_has_its_new_size_for_the_next_connection(volume: Volume) -> None:
    with controlled(volume) as served, served.volume.served(), served.volume.connection() as old:
        fd = os.open(served.volume.path, os.O_RDWR)
        header = luks2.read(fd)
        os.ftruncate(fd, luks2.DATA_OFFSET + header.size + MIB)
        luks2.write(fd, header._replace(size=header.size + MIB, settled=None, sequence=2))
        os.close(fd)
        assert served.ask("grow")["size"] == header.size + MIB
        with served.volume.connection() as new:
            assert new.get_size() == header.size + MIB
            new.pwrite(b"\1" * SECTOR, header.size)
            assert new.pread(SECTOR, header.size) == b"\1" * SECTOR
        assert old.pread(SECTOR, 0) == bytes(SECTOR)


def test_snapshots_under_load_lose_nothing(volume: Volume) -> None:
    done = threading.Event()
    written: dict[int, bytes] = {}
    writes: list[int] = []

    def write(served: Controlled) -> None:
        with served.volume.connection() as handle:
            while not done.is_set():
                at = int.from_bytes(os.urandom(2)) % 4000 * 512
                data = os.urandom(1536)
                handle.pwrite(data, at)
                for unit in range(3):
                    written[at + 512 * unit] = data[512 * unit : 512 * (unit + 1)]
                writes.append(at)

    with controlled(volume) as served, served.volume.served():
        thread = threading.Thread(target=write, args=(served,))
        thread.start()
        for snapshot in SNAPSHOTS:
            writes.clear()
            eventually(lambda: len(writes) > 100)
            served.take(snapshot)
        done.set()
        thread.join()
        with served.volume.connection() as handle:
            for at, data in written.items():
                assert handle.pread(512, at) == data
    assert FilePool(directory(served.volume)).names() == {f"{volume.header.uuid}.luks"}


def mark_frozen(volume: Volume) -> None:
    """As a snapshot does before it hands over the layer above."""
    fd = os.open(volume.path, os.O_RDWR)
    header = luks2.read(fd)
    frozen = header._replace(layer_id=header.uuid, frozen_by=SNAPSHOTS[0], sequence=9)
    luks2.write(fd, frozen)
    os.close(fd)


def test_a_frozen_layer_is_served_for_reading_only(volume: Volume) -> None:
    mark_frozen(volume)
    with volume.served("--readonly"), volume.connection() as handle:
        assert handle.pread(SECTOR, 0) == bytes(SECTOR)
    with volume.served(), pytest.raises(nbd.Error), volume.connection():
        pass
    assert "nobody writes to" in volume.log.read_text()


def test_who_connects_while_a_snapshot_is_taken_waits_for_its_layer(volume: Volume) -> None:
    with controlled(volume) as served, served.volume.served():
        mark_frozen(served.volume)
        taking = threading.Timer(0.2, served.take, (SNAPSHOTS[0],))
        taking.start()
        with served.volume.connection() as handle:
            handle.pwrite(b"\1" * SECTOR, 0)
        taking.join()
    frozen, top = (
        snapshot_path(directory(served.volume), SNAPSHOTS[0]),
        volume_path(directory(served.volume), volume.header.uuid),
    )
    assert not any(frozen.read_bytes()[luks2.DATA_OFFSET :])
    assert any(top.read_bytes()[luks2.DATA_OFFSET :])
