"""What a running server is told, and the chain that a server is started with."""

from __future__ import annotations

import os
import signal
import socket
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from evsd.layers.chain import chain, snapshot_path, volume_path
from evsd.layers.making import take
from evsd.serving.control import ControlFailed, ControlMissing, ControlRefused, ServerControl
from tests.support.served_disks import SIZE, ServedDisks
from tests.support.volume import eventually

SECTOR = 4096
OLD, NEW = b"\1" * SECTOR, b"\2" * SECTOR


def controlled(disks: ServedDisks, disk: str) -> ServerControl:
    """Of its server."""
    control = disks.supervisor.control(disk)
    assert control is not None
    return control


@pytest.fixture
def disk(disks: ServedDisks) -> str:
    """A new one that is served."""
    made = disks.create()
    disks.attach(made)
    return made


def test_a_server_says_what_it_serves(disks: ServedDisks, disk: str) -> None:
    control = controlled(disks, disk)
    served = control.status()
    assert (served.layer_id, served.size) == (disk, SIZE)


def test_there_is_nobody_to_talk_to_where_no_server_runs(disks: ServedDisks) -> None:
    assert disks.supervisor.control(disks.create()) is None


def test_a_server_goes_over_to_a_new_layer(disks: ServedDisks, disk: str) -> None:
    with disks.connection(disk) as handle:
        handle.pwrite(OLD, 0)
        [made] = disks.snapshot(disk)
        handle.pwrite(NEW, SECTOR)
        assert handle.pread(2 * SECTOR, 0) == OLD + NEW
    control = controlled(disks, disk)
    assert control.status().layer_id == disks.header(disk).layer_id
    assert disks.pool.header(disk).parent_layer_id == disk
    assert snapshot_path(disks.directory, made).exists()


@pytest.mark.parametrize("frozen_only", [False, True])
def test_a_server_that_is_started_again_serves_the_newest_layer(
    disks: ServedDisks, disk: str, frozen_only: bool
) -> None:
    """Also where a snapshot was interrupted before the server was told."""
    with disks.connection(disk) as handle:
        handle.pwrite(OLD, 0)
        handle.flush()
    before = disks.process(disk)
    if frozen_only:

        def interrupted(_: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            take(disks.directory, disk, str(uuid.uuid4()), interrupted)
    else:
        disks.snapshot(disk)
    os.kill(before.pid, signal.SIGKILL)
    eventually(lambda: disks.process(disk) != before and disks.process(disk).works)
    with disks.supervisor.disks.held(disk):  # it is ready
        layers = chain(disks.directory, disk)
    assert [bool(layer.header.frozen_by) for layer in layers] == [False, True]
    with disks.connection(disk) as handle:
        handle.pwrite(NEW, SECTOR)
        assert handle.pread(2 * SECTOR, 0) == OLD + NEW
        handle.flush()
    with layers[1].path.open("rb") as file:
        assert file.seek(2**20 + SECTOR)
        assert not any(file.read(SECTOR))


def test_a_volume_with_snapshots_is_attached_again(disks: ServedDisks, disk: str) -> None:
    with disks.connection(disk) as handle:
        handle.pwrite(OLD, 0)
    disks.snapshot(disk)
    disks.detach(disk)
    disks.snapshot(disk)
    disks.attach(disk)
    with disks.connection(disk) as handle:
        assert handle.pread(SECTOR, 0) == OLD


def test_what_is_no_layer_of_the_volume_is_refused(disks: ServedDisks, disk: str) -> None:
    other = os.open(volume_path(disks.directory, disks.create()), os.O_RDWR)
    control = controlled(disks, disk)
    with pytest.raises(ControlRefused, match="stands on none"):
        control.switch(other)
    assert control.status().layer_id == disk
    os.close(other)


def test_a_conversation_of_another_is_not_waited_for(disks: ServedDisks, disk: str) -> None:
    control = controlled(disks, disk)
    with control.held(), disks.connection(disk):  # which asks for no data
        pass
    with ThreadPoolExecutor() as pool:
        assert control.status() in [each.result() for each in [pool.submit(control.flush)] * 9]


def test_requests_wait_while_a_server_is_held_and_see_the_layer_after_it(
    disks: ServedDisks, disk: str
) -> None:
    control = controlled(disks, disk)
    with disks.connection(disk) as handle, ThreadPoolExecutor() as pool:
        with control.held() as held:
            writing = pool.submit(handle.pwrite, NEW, 0)
            held.require_held()
            assert not writing.done()
            take(disks.directory, disk, str(uuid.uuid4()), held.switch)
        writing.result(60)
        assert handle.pread(SECTOR, 0) == NEW
    assert not any(chain(disks.directory, disk)[1].path.read_bytes()[2**20 :])


def test_a_server_that_is_held_too_long_goes_on_by_itself_and_that_is_noticed(
    disks: ServedDisks, disk: str
) -> None:
    with disks.connection(disk) as handle, controlled(disks, disk).held() as held:
        handle.pwrite(NEW, 0)  # which waits
        with pytest.raises(ControlFailed):
            held.require_held()


def test_a_server_goes_on_when_who_holds_it_ends(disks: ServedDisks, disk: str) -> None:
    with disks.connection(disk) as handle:
        controlled(disks, disk).held().close()
        handle.pwrite(NEW, 0)


def test_a_server_of_an_earlier_evsd_can_not_be_told_anything(disks: ServedDisks) -> None:
    with pytest.raises(ControlMissing, match="detach and attach"):
        ServerControl(disks.directory / "none.control", "").status()


def test_the_control_socket_is_its_users_alone_and_goes_with_the_server(
    disks: ServedDisks, disk: str
) -> None:
    [path] = (disks.directory / "nbd").glob(f"{disks.server(disk)}.control")
    assert path.stat().st_mode & 0o777 == 0o600
    disks.detach(disk)
    assert not path.exists()


def test_who_has_no_ticket_is_told_so(disks: ServedDisks, disk: str) -> None:
    path = disks.directory / "nbd" / f"{disks.server(disk)}.control"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
        stranger.connect(str(path))
        stranger.send(b'{"ticket_sha256":"00","do":"status"}')
        assert b"not this server's ticket" in stranger.recv(4096)
