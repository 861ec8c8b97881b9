"""One client at a time may write; who is connected is reported; who may connect at all."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import libnbd
from tests.support.nbd import qemu_io
from tests.support.volume import Volume, eventually

nbd = libnbd.load()

DEVICE = "evsd-device"

# Connects, says so, and goes on when its input ends; with "leave" the process that has connected
# ends, and its child has the connection.
CLIENT = """
import os, sys
from pathlib import Path
from evsd.connector.nbd import handshake
export = handshake(Path(sys.argv[1]), sys.argv[2])
if "leave" in sys.argv and os.fork():
    os._exit(0)
print("ro" if export.read_only else "rw", flush=True)
sys.stdin.read()
"""


@contextmanager
def started_client(volume: Volume, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that connects, for the block."""
    command = [sys.executable, "-c", CLIENT, str(volume.socket), *(words or [""])]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as client:
        assert client.stdout is not None
        assert client.stdin is not None
        try:
            yield client
        finally:
            client.stdin.close()
            client.stdout.read()  # whoever had the connection has ended


def mode(client: subprocess.Popen[str]) -> str:
    """What it may do, once it is connected: `rw` or `ro`."""
    assert client.stdout is not None
    return client.stdout.readline().strip()


@contextmanager
def another_client(volume: Volume, *words: str) -> Iterator[str]:
    """Another process with a connection, for the block; gives what it may do."""
    with started_client(volume, *words) as client:
        yield mode(client)


@pytest.fixture
def report(volume: Volume) -> Iterator[Path]:
    """The file in which the volume's server reports its clients."""
    path = volume.path.with_name("clients")
    with path.open("wb") as file:
        os.set_inheritable(file.fileno(), True)
        volume.arguments = (f"clients_fd={file.fileno()}",)
        volume.inherited = (file.fileno(),)
        yield path


def clients(report: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(report.read_text())["clients"]
    return found


def test_a_second_client_can_only_read(volume: Volume) -> None:
    with volume.served(), volume.connected() as (writer,):
        writer.pwrite(b"w" * 4096, 0)
        refused = qemu_io(volume.uri, "write -P 1 0 4k")
        assert refused.returncode == 1
        assert "denied" in refused.stderr
        assert qemu_io(volume.uri, "read -P 0x77 0 4k", read_only=True).returncode == 0
        writer.pwrite(b"W" * 4096, 0)
        writer.flush()
        assert writer.pread(4096, 0) == b"W" * 4096


def test_a_second_clients_writes_are_refused_also_when_it_does_not_ask(volume: Volume) -> None:
    with another_writer(volume), volume.connected() as (reader,):
        assert reader.is_read_only()
        for refused, arguments in (
            (reader.pwrite, (b"x" * 4096, 0)),
            (reader.zero, (4096, 0)),
            (reader.trim, (4096, 0)),
        ):
            with pytest.raises(nbd.Error):
                refused(*arguments)
        assert reader.pread(4096, 0) == bytes(4096)


@contextmanager
def another_writer(volume: Volume) -> Iterator[None]:
    with volume.served(), another_client(volume) as first:
        assert first == "rw"
        yield


def test_all_connections_of_one_process_write(volume: Volume) -> None:
    with volume.served(), volume.connected(4) as handles:
        for number, handle in enumerate(handles):
            assert handle.can_multi_conn()
            handle.pwrite(b"m" * 4096, number * 4096)
        assert handles[0].pread(4 * 4096, 0) == b"m" * 4 * 4096


def test_many_clients_read_what_is_served_for_reading(volume: Volume) -> None:
    with volume.served("--readonly"), another_client(volume) as first:
        assert first == "ro"
        assert qemu_io(volume.uri, "read -P 0 0 4k", read_only=True).returncode == 0


def test_the_next_client_writes_however_soon_it_comes(volume: Volume) -> None:
    with volume.served(), volume.connected() as (reader,):
        assert not reader.is_read_only()
    with volume.served():
        for number in range(1, 20):
            done = qemu_io(volume.uri, f"write -P {number} 0 1M", f"read -P {number} 0 1M")
            assert done.returncode == 0, done


def test_a_client_that_was_killed_leaves_the_volume_to_the_next(volume: Volume) -> None:
    with volume.served():
        for _ in range(5):
            with started_client(volume) as client:
                assert mode(client) == "rw"
                client.kill()
                assert qemu_io(volume.uri, "write -P 1 0 4k").returncode == 0


def test_a_halted_client_keeps_the_volume(volume: Volume) -> None:
    with volume.served(), started_client(volume) as client:
        assert mode(client) == "rw"
        client.send_signal(signal.SIGSTOP)
        assert qemu_io(volume.uri, "write -P 1 0 4k").returncode == 1
        client.kill()


def test_a_connection_that_its_process_left_to_another_keeps_the_volume(volume: Volume) -> None:
    """As the kernel's: nbd-client connects, and ends."""
    with volume.served():
        with another_client(volume, "", "leave") as first:
            assert first == "rw"
            assert qemu_io(volume.uri, "write -P 1 0 4k").returncode == 1
        assert qemu_io(volume.uri, "write -P 1 0 4k").returncode == 0


def test_where_there_is_a_device_nobody_else_writes_not_even_before_it(volume: Volume) -> None:
    volume.arguments = (f"device={DEVICE}",)
    with volume.served():
        assert qemu_io(volume.uri, "write -P 1 0 4k").returncode == 1
        with another_client(volume, DEVICE) as device:
            assert device == "rw"
            assert qemu_io(volume.uri, "write -P 1 0 4k").returncode == 1
            assert qemu_io(volume.uri, "read -P 0 0 4k", read_only=True).returncode == 0


def test_a_device_is_one_client_whichever_process_connects_it(volume: Volume) -> None:
    volume.arguments = (f"device={DEVICE}",)
    with (
        volume.served(),
        another_client(volume, DEVICE, "leave") as first,
        another_client(volume, DEVICE) as second,
    ):
        assert (first, second) == ("rw", "rw")


def test_other_export_names_make_no_difference(volume: Volume) -> None:
    with (
        volume.served(),
        another_client(volume, "one") as one,
        another_client(volume, "one") as two,
    ):
        assert (one, two) == ("rw", "ro")


def test_who_is_connected_is_reported_as_they_come_and_go(volume: Volume, report: Path) -> None:
    with volume.served():
        with volume.connected(), another_client(volume):
            here, other = clients(report)
            assert (here["pid"], here["uid"]) == (os.getpid(), os.getuid())
            assert (here["writes"], other["writes"]) == (True, False)
            assert other["pid"] not in (os.getpid(), 0)
            assert here["since"] <= other["since"]
            assert not here["device"]
        eventually(lambda: clients(report) == [])


def test_a_connection_that_was_refused_its_key_is_not_reported(
    volume: Volume, report: Path
) -> None:
    volume.service.refusal = {"code": "KMS.0209", "message": "no"}
    with volume.served():
        with pytest.raises(nbd.Error), volume.connection():
            pass
        assert report.read_text() == ""
        volume.service.refusal = None
        with volume.connected():
            assert len(clients(report)) == 1


def test_a_socket_is_nobody_elses_where_nothing_else_is_said(volume: Volume) -> None:
    with volume.served():
        assert stat.S_IMODE(volume.socket.stat().st_mode) == 0o700
