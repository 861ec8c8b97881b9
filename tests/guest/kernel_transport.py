"""The kernel transport; run by test_guest.py inside a guest, whose kernel has nbd."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyroute2.netlink import genlmsg  # type: ignore[import-untyped]
from pyroute2.netlink.generic import GenericNetlinkSocket  # type: ignore[import-untyped]

from evsd.connector import (
    Device,
    DeviceState,
    best_transport,
    block,
    connect,
    disconnect,
    find,
    kernel,
    process,
    reconnect,
    wait,
    watch,
)
from evsd.connector.errors import (
    DeviceBusy,
    DeviceExists,
    DeviceNotFlushed,
    DeviceNotFound,
    ServerUnreachable,
)
from tests.support.nbdkit import await_start

IDENTIFIER = "evsd-test"
FILES = "/usr/share/common-licenses"
SOCKET = Path("/run/nbd.sock")
COPY = "/mnt/common-licenses"
SIZE = 32 << 20
WAITING = {"45", "232"}  # recvfrom and epoll_wait on x86-64
PATIENCE_S = 120  # in an emulated guest, on a machine that does other things too


class Server:
    """nbdkit over a file, which may be killed and started again."""

    def __init__(self, image: Path) -> None:
        self._image = image
        self.start()

    def start(self) -> None:
        SOCKET.unlink(missing_ok=True)
        argv = ("nbdkit", "--foreground", "-U", SOCKET, "file", self._image)
        self._process = subprocess.Popen(argv)
        await_start(self._process, SOCKET)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def content(self, length: int) -> bytes:
        """The first bytes of the file."""
        with self._image.open("rb") as file:
            return file.read(length)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    image = tmp_path / "image"
    image.touch()
    os.truncate(image, SIZE)
    server = Server(image)
    yield server
    subprocess.run(("umount", "-q", "/mnt"))
    disconnect(IDENTIFIER, force=True)
    server.kill()


@pytest.fixture
def device(server: Server) -> Device:  # noqa: ARG001 - is its server
    """A device without a watcher, whose start takes 3 s in here."""
    return kernel.connect(SOCKET, IDENTIFIER, read_only=False)


@pytest.fixture
def watched_device(server: Server) -> Device:  # noqa: ARG001 - is its server
    return connect("kernel", SOCKET, IDENTIFIER)


def run(*argv: str | Path) -> str:
    return subprocess.run(
        argv, check=True, stdout=subprocess.PIPE, text=True, timeout=PATIENCE_S
    ).stdout


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
    # Four copies at most before the server is back, and two after that.
    copy = "for i in 1 2 3 4 5 6; do cp -a $0 /mnt/$i; sync; [ $i != 4 ] || read _ || :; done"
    with subprocess.Popen(("sh", "-ec", copy, COPY), stdin=subprocess.PIPE) as writer:
        assert writer.stdin is not None
        assert wait.until(Path("/mnt/2").exists, timeout=PATIENCE_S)
        server.kill()
        time.sleep(0.5)  # for the watcher to find nobody there
        server.start()
        writer.stdin.close()
        assert writer.wait(PATIENCE_S) == 0
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


@pytest.mark.usefixtures("watched_device")
def test_look_tells_a_device_whose_watcher_has_ended_to_anybody() -> None:
    assert look_as_nobody() == DeviceState.CONNECTED
    watcher = watch.find(IDENTIFIER)
    assert watcher is not None
    process.end(watcher, signal.SIGKILL, timeout=5)
    assert look_as_nobody() == DeviceState.UNWATCHED
    disconnect(IDENTIFIER)
    assert look_as_nobody() == DeviceState.GONE


def look_as_nobody() -> str:
    # It may not be able to read the checkout, so it imports first.
    program = "import os, sys; from evsd.connector import look; os.setuid(65534)"
    return run(sys.executable, "-c", f"{program}; print(look(sys.argv[1]))", IDENTIFIER).strip()


def test_reconnecting_a_living_device_is_harmless(device: Device) -> None:
    reconnect(IDENTIFIER, SOCKET)
    run("dd", f"if={device.path}", "of=/dev/null", "bs=1M", "count=4", "iflag=direct")


def test_reconnecting_no_device() -> None:
    with pytest.raises(DeviceNotFound):
        reconnect(IDENTIFIER, SOCKET)


def test_dead_device_keeps_what_was_written_until_its_server_is_back(
    watched_device: Device, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block, "_STALLED_S", 1.0)
    server.kill()
    watcher = watch.find(IDENTIFIER)
    # It reads to see whether the device lives. Without it the last close would wait for the disk.
    assert wait.until(lambda: has_open(watcher, watched_device), timeout=PATIENCE_S)
    run("dd", "if=/usr/bin/env", f"of={watched_device.path}", "bs=4096", "count=1")
    for _ in range(2):  # the flush of the first, which hangs, is not in the second's way
        with pytest.raises(DeviceNotFlushed, match="--force"):
            disconnect(IDENTIFIER)
    assert find(IDENTIFIER) == watched_device
    assert server.content(4096) == bytes(4096)
    monkeypatch.undo()
    server.start()
    # The pause before the watcher tries again may be longer than a flush waits for any progress.
    assert kernel.answers(IDENTIFIER, timeout=PATIENCE_S)
    assert disconnect(IDENTIFIER) is None
    assert server.content(4096) == Path("/usr/bin/env").read_bytes()[:4096]


def has_open(pid: int | None, device: Device) -> bool:
    with contextlib.suppress(FileNotFoundError):  # descriptors come and go while we look
        return any(fd.readlink() == device.path for fd in Path(f"/proc/{pid}/fd").iterdir())
    return False


def test_dead_device_is_detached_by_force_which_says_that_data_is_lost(
    device: Device, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block, "_STALLED_S", 1.0)
    server.kill()
    with pytest.raises(DeviceNotFlushed):
        disconnect(IDENTIFIER)
    lost = disconnect(IDENTIFIER, force=True)
    assert lost is not None
    assert "does not answer" in lost
    assert find(IDENTIFIER) is None
    assert not Path(f"/sys/block/{device.path.name}/pid").exists()


@pytest.mark.usefixtures("watched_device")
def test_a_watcher_that_was_not_told_of_a_death_looks_for_itself(server: Server) -> None:
    watcher = watch.find(IDENTIFIER)
    assert watcher is not None
    family, group = netlink_family()
    # It has looked at the device by then, and looks no more unless it is told.
    assert wait.until(lambda: listens(watcher, group) and waits(watcher), timeout=PATIENCE_S)
    os.kill(watcher, signal.SIGSTOP)
    flood(family, group)
    with kernel.dead_links() as deaths:
        server.kill()
        assert next(deaths) == IDENTIFIER
    server.start()
    os.kill(watcher, signal.SIGCONT)
    assert kernel.answers(IDENTIFIER, timeout=PATIENCE_S)
    assert watch.find(IDENTIFIER) == watcher


def netlink_family() -> tuple[int, int]:
    """The kernel's numbers for nbd's family and its multicast group."""
    with GenericNetlinkSocket() as sock:
        sock.bind("nbd", genlmsg)
        return sock.prid, sock.mcast_groups["nbd_mc_group"]


def listens(pid: int, group: int) -> bool:
    """Whether a process is a member of the group; a port is a process id and a number above it."""
    lines = Path("/proc/net/netlink").read_text().splitlines()[1:]
    sockets = [
        (int(port) & 0x3FFFFF, int(groups, 16)) for _, _, port, groups, *_ in map(str.split, lines)
    ]
    return any(owner == pid and groups >> (group - 1) & 1 for owner, groups in sockets)


def waits(pid: int) -> bool:
    """Whether a thread of the process waits for messages."""
    with contextlib.suppress(OSError):  # threads come and go while we look
        threads = Path(f"/proc/{pid}/task").glob("*/syscall")
        return any(thread.read_text().split()[0] in WAITING for thread in threads)
    return False


def flood(family: int, group: int) -> None:
    """Messages that mean nothing to all members of the group, more than there is room for."""
    message = struct.pack("=IHHIIBBH", 20, family, 0, 0, 0, 99, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16) as sock:
        for _ in range(5000):
            sock.sendto(message, (0, 1 << (group - 1)))


def test_a_watcher_that_can_not_go_on_ends_and_says_so(device: Device) -> None:  # noqa: ARG001
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.bind("/dev/log")
        argv = (sys.executable, "-m", "evsd.connector.revive", IDENTIFIER, SOCKET)
        # In a network of its own: there the kernel has no family nbd to listen to.
        ended = subprocess.run(("unshare", "--net", *argv), timeout=PATIENCE_S, capture_output=True)
        Path("/dev/log").unlink()
        assert ended.returncode == 1
        syslog.settimeout(PATIENCE_S)
        said = syslog.recv(4096).decode()
    assert f"{IDENTIFIER}: its watcher ends" in said, said


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
