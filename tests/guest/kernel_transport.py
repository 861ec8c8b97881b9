"""The kernel transport; run by test_guest.py inside a guest, whose kernel has nbd."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from evsd.connector import (
    Device,
    best_transport,
    block,
    connect,
    disconnect,
    find,
    kernel,
    reconnect,
    watch,
)
from evsd.connector.errors import DeviceBusy, DeviceExists, DeviceNotFound, ServerUnreachable

IDENTIFIER = "evsd-test"
FILES = "/usr/share/common-licenses"
SOCKET = Path("/run/nbd.sock")
COPY = "/mnt/common-licenses"
SIZE = 32 << 20


class Server:
    """nbdkit over a file, which may be killed and started again."""

    def __init__(self, image: Path) -> None:
        self._image = image
        self.start()

    def start(self) -> None:
        SOCKET.unlink(missing_ok=True)
        argv = ("nbdkit", "--foreground", "-U", SOCKET, "file", self._image)
        self._process = subprocess.Popen(argv)
        while not SOCKET.exists():
            assert self._process.poll() is None
            time.sleep(0.01)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    image = tmp_path / "image"
    image.touch()
    os.truncate(image, SIZE)
    server = Server(image)
    yield server
    subprocess.run(("umount", "-q", "/mnt"))
    disconnect(IDENTIFIER)
    server.kill()


@pytest.fixture
def device(server: Server) -> Device:  # noqa: ARG001 - is its server
    """A device without a watcher, whose start takes 3 s in here."""
    return kernel.connect(SOCKET, IDENTIFIER, read_only=False)


@pytest.fixture
def watched_device(server: Server) -> Device:  # noqa: ARG001 - is its server
    return connect("kernel", SOCKET, IDENTIFIER)


def run(*argv: str | Path) -> str:
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True, timeout=30).stdout


def make_file_system(device: Device) -> None:
    run("mkfs.ext4", "-q", device.path)
    run("mount", device.path, "/mnt")
    run("cp", "-a", FILES, "/mnt")


def test_kernel_is_the_best_transport() -> None:
    assert best_transport() == "kernel"


def test_device_and_find(device: Device) -> None:
    queue = Path("/sys/block") / device.path.name / "queue"
    assert (queue / "logical_block_size").read_text().strip() == "512"
    assert int(run("blockdev", "--getsize64", device.path)) == SIZE
    assert find(IDENTIFIER) == device
    assert find("evsd-other") is None


def test_files_survive_detach_and_attach(watched_device: Device) -> None:
    make_file_system(watched_device)
    run("umount", "/mnt")
    disconnect(IDENTIFIER)
    assert find(IDENTIFIER) is None
    again = kernel.connect(SOCKET, IDENTIFIER, read_only=False)
    run("e2fsck", "-fn", again.path)
    run("mount", again.path, "/mnt")
    run("diff", "-r", FILES, COPY)


def test_mounted_device_is_busy(device: Device) -> None:
    make_file_system(device)
    with pytest.raises(DeviceBusy, match="mounted on /mnt"):
        disconnect(IDENTIFIER)
    run("diff", "-r", FILES, COPY)


def test_swap_is_busy(device: Device) -> None:
    run("mkswap", device.path)
    run("swapon", device.path)
    try:
        with pytest.raises(DeviceBusy, match="swap"):
            disconnect(IDENTIFIER)
    finally:
        run("swapoff", device.path)


def test_device_mapper_is_busy(device: Device) -> None:
    run("dmsetup", "create", "over", "--table", f"0 {SIZE // 512} linear {device.path} 0")
    try:
        with pytest.raises(DeviceBusy, match="held by dm-"):
            disconnect(IDENTIFIER)
    finally:
        run("dmsetup", "remove", "over")


def test_open_device_is_busy(device: Device) -> None:
    with device.path.open("rb"), pytest.raises(DeviceBusy, match="open by process"):
        disconnect(IDENTIFIER)


def test_second_connect_is_refused(device: Device) -> None:
    with pytest.raises(DeviceExists, match=str(device.path)):
        connect("kernel", SOCKET, IDENTIFIER)


def test_two_devices(device: Device) -> None:
    other = kernel.connect(SOCKET, "evsd-other", read_only=False)
    try:
        assert other.path != device.path
        assert (find(IDENTIFIER), find("evsd-other")) == (device, other)
    finally:
        disconnect("evsd-other")


def test_read_only(server: Server) -> None:  # noqa: ARG001 - is there
    device = connect("kernel", SOCKET, IDENTIFIER, read_only=True)
    assert run("blockdev", "--getro", device.path).strip() == "1"


def test_no_server_leaves_nothing(server: Server) -> None:
    server.kill()
    with pytest.raises(ServerUnreachable):
        connect("kernel", SOCKET, IDENTIFIER)
    assert find(IDENTIFIER) is None


def test_io_goes_on_after_the_servers_death(watched_device: Device, server: Server) -> None:
    make_file_system(watched_device)
    copy = ("sh", "-ec", "for i in 1 2 3 4 5 6; do cp -a /mnt/common-licenses /mnt/$i; sync; done")
    with subprocess.Popen(copy) as writer:
        time.sleep(0.5)  # to be somewhere in the middle of it
        server.kill()
        time.sleep(0.5)  # for the watcher to find nobody there
        server.start()
        assert writer.wait(30) == 0
    for i in range(1, 7):
        run("diff", "-r", FILES, f"/mnt/{i}")
    run("umount", "/mnt")
    run("e2fsck", "-fn", watched_device.path)


def test_reconnect_without_a_watcher(device: Device, server: Server) -> None:
    server.kill()
    server.start()
    reconnect(IDENTIFIER, SOCKET)
    run("dd", f"if={device.path}", "of=/dev/null", "bs=1M", "count=4", "iflag=direct")


def test_kernel_tells_of_a_death(device: Device, server: Server) -> None:  # noqa: ARG001 - dies
    with kernel.dead_links() as deaths:
        server.kill()
        assert next(deaths) == IDENTIFIER
    server.start()
    reconnect(IDENTIFIER, SOCKET)


def test_watcher_goes_with_its_device(watched_device: Device) -> None:  # noqa: ARG001 - has it
    assert watch.find(IDENTIFIER) is not None
    disconnect(IDENTIFIER)
    assert watch.find(IDENTIFIER) is None


def test_reconnecting_a_living_device_is_harmless(device: Device) -> None:
    reconnect(IDENTIFIER, SOCKET)
    run("dd", f"if={device.path}", "of=/dev/null", "bs=1M", "count=4", "iflag=direct")


def test_reconnecting_no_device() -> None:
    with pytest.raises(DeviceNotFound):
        reconnect(IDENTIFIER, SOCKET)


def test_dead_device_can_be_detached(
    device: Device, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block, "_STALLED_SECONDS", 2.0)
    server.kill()
    disconnect(IDENTIFIER)
    assert find(IDENTIFIER) is None
    assert not Path(f"/sys/block/{device.path.name}/pid").exists()


def test_stock_nbd_client_attaches_the_same_export(device: Device) -> None:
    make_file_system(device)
    run("umount", "/mnt")
    disconnect(IDENTIFIER)
    run("nbd-client", "-unix", SOCKET, "/dev/nbd5")
    try:
        run("mount", "-o", "ro", "/dev/nbd5", "/mnt")
        run("diff", "-r", FILES, COPY)
        run("umount", "/mnt")
    finally:
        run("nbd-client", "-d", "/dev/nbd5")
