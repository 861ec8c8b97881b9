"""The fuse transport: a real block device with a real file system, on this kernel."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from evsd.connector import Device, block, connect, disconnect, find
from evsd.connector.errors import (
    DeviceBusy,
    DeviceExists,
    DeviceNotFlushed,
    ServedReadOnly,
    ServerRefused,
    ServerUnreachable,
    WritesFailed,
)
from tests.support.daemon import hear_interrupts
from tests.support.traces import traces

from .conftest import StartServer

IDENTIFIER = "evsd-test"
# Of nbdkit's plugin `eval`: an export of one name only.
ONLY_UNDER = '[ "$3" = {0} ] || {{ echo ENOENT not "$3" >&2; exit 1; }}'
READ_ZEROS = "pread=head -c $3 /dev/zero"
FILES = "/usr/share/common-licenses"


@pytest.fixture
def run_dir(tmp_path: Path) -> Iterator[Path]:
    """The connector's directory; whatever a failed test left in it is taken away."""
    directory = tmp_path / "run"
    yield directory
    disconnect(IDENTIFIER, force=True, run_dir=directory)


@pytest.fixture
def mountpoint(tmp_path: Path) -> Iterator[Path]:
    """A place to mount at; unmounted at the end. Requested after `run_dir`, undone before it."""
    place = tmp_path / "mnt"
    place.mkdir()
    yield place
    if place.is_mount():
        run("umount", place)


def attach(socket_path: Path, run_dir: Path, *, read_only: bool = False) -> Device:
    return connect("fuse", socket_path, IDENTIFIER, read_only=read_only, run_dir=run_dir)


def run(*argv: str | Path) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout


def _connect_command(socket_path: Path, run_dir: Path, then: str = "") -> tuple[str, ...]:
    """A process that connects, then runs a line of Python."""
    program = (
        "import sys, os, signal; from pathlib import Path; from evsd.connector import connect\n"
        f"connect('fuse', Path(sys.argv[1]), sys.argv[2], run_dir=Path(sys.argv[3]))\n{then}"
    )
    return sys.executable, "-c", program, str(socket_path), IDENTIFIER, str(run_dir)


def nothing_left(run_dir: Path) -> bool:
    """No mount, no loop device, no nbdfuse, no directory."""
    # Who makes the connection names it too.
    left = [trace for trace in traces(run_dir) if not trace.startswith(sys.executable)]
    return not left and not list(run_dir.glob("*"))


def test_files_survive_detach_and_attach(
    start_server: StartServer, socket_path: Path, run_dir: Path, mountpoint: Path, tmp_path: Path
) -> None:
    image = tmp_path / "image"
    image.touch()
    os.truncate(image, 64 << 20)
    start_server("file", str(image))
    device = attach(socket_path, run_dir)
    run("mkfs.ext4", "-q", device.path)
    run("mount", device.path, mountpoint)
    run("cp", "-a", FILES, mountpoint / "copy")
    run("umount", mountpoint)
    disconnect(IDENTIFIER, run_dir=run_dir)
    assert nothing_left(run_dir)

    device = attach(socket_path, run_dir)
    assert "clean" in run("e2fsck", "-n", device.path)
    run("mount", device.path, mountpoint)
    run("diff", "-r", FILES, mountpoint / "copy")
    run("umount", mountpoint)
    disconnect(IDENTIFIER, run_dir=run_dir)


def test_sync_reaches_the_server_as_flush(
    start_server: StartServer, socket_path: Path, run_dir: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    start_server("--filter=log", "memory", "16M", f"logfile={log}")
    device = attach(socket_path, run_dir)
    before = log.read_text().count(" Flush ")
    run("dd", "if=/dev/urandom", f"of={device.path}", "bs=4k", "count=1", "conv=fsync")
    entries = log.read_text()
    assert entries.count(" Flush ") > before
    assert entries.rindex(" Write ") < entries.rindex(" Flush ")


def test_find(start_server: StartServer, socket_path: Path, run_dir: Path) -> None:
    start_server("memory", "16M")
    assert find(IDENTIFIER, run_dir=run_dir) is None
    device = attach(socket_path, run_dir)
    assert find(IDENTIFIER, run_dir=run_dir) == device
    assert (device.transport, device.identifier) == ("fuse", IDENTIFIER)
    assert int(run("blockdev", "--getsize64", device.path)) == 16 << 20
    assert int(run("blockdev", "--getss", device.path)) == 512


def test_read_only(start_server: StartServer, socket_path: Path, run_dir: Path) -> None:
    start_server("memory", "16M")
    device = attach(socket_path, run_dir, read_only=True)
    assert run("blockdev", "--getro", device.path).strip() == "1"


def test_mounted_device_is_busy(
    start_server: StartServer, socket_path: Path, run_dir: Path, mountpoint: Path
) -> None:
    start_server("memory", "16M")
    device = attach(socket_path, run_dir)
    run("mkfs.ext4", "-q", device.path)
    run("mount", device.path, mountpoint)
    with pytest.raises(DeviceBusy, match=f"mounted on {mountpoint}"):
        disconnect(IDENTIFIER, run_dir=run_dir)
    (mountpoint / "file").write_text("still works")
    run("umount", mountpoint)
    disconnect(IDENTIFIER, run_dir=run_dir)
    assert nothing_left(run_dir)


def test_open_device_is_busy(start_server: StartServer, socket_path: Path, run_dir: Path) -> None:
    start_server("memory", "16M")
    device = attach(socket_path, run_dir)
    with device.path.open("rb"), pytest.raises(DeviceBusy, match="open by process"):
        disconnect(IDENTIFIER, run_dir=run_dir)
    assert find(IDENTIFIER, run_dir=run_dir) == device


def test_stacked_loop_is_busy(start_server: StartServer, socket_path: Path, run_dir: Path) -> None:
    start_server("memory", "16M")
    device = attach(socket_path, run_dir)
    upper = run("losetup", "--find", "--show", device.path).strip()
    try:
        with pytest.raises(DeviceBusy, match=f"held by {Path(upper).name}"):
            disconnect(IDENTIFIER, run_dir=run_dir)
    finally:
        run("losetup", "-d", upper)


def test_second_connect_is_refused(
    start_server: StartServer, socket_path: Path, run_dir: Path
) -> None:
    start_server("memory", "16M")
    device = attach(socket_path, run_dir)
    with pytest.raises(DeviceExists, match=str(device.path)):
        attach(socket_path, run_dir)
    assert find(IDENTIFIER, run_dir=run_dir) == device


def test_no_server_leaves_nothing(
    start_server: StartServer, socket_path: Path, run_dir: Path
) -> None:
    with pytest.raises(ServerUnreachable):
        attach(socket_path, run_dir)
    assert nothing_left(run_dir)
    server = start_server("memory", "16M")
    server.kill()
    server.wait()
    assert socket_path.exists()
    with pytest.raises(ServerRefused, match="nbdfuse"):
        attach(socket_path, run_dir)
    assert nothing_left(run_dir)


def test_refusing_server_leaves_nothing(
    start_server: StartServer, socket_path: Path, run_dir: Path
) -> None:
    start_server("eval", "open=echo EACCES not today >&2; exit 1", "get_size=echo 1M")
    with pytest.raises(ServerRefused):
        attach(socket_path, run_dir)
    assert nothing_left(run_dir)


def test_a_server_that_takes_no_writes_is_refused_where_the_device_is_to_write(
    start_server: StartServer, socket_path: Path, run_dir: Path
) -> None:
    start_server("--readonly", "memory", "16M")
    with pytest.raises(ServedReadOnly, match="somebody else has the volume for writing"):
        attach(socket_path, run_dir)
    assert nothing_left(run_dir)
    device = attach(socket_path, run_dir, read_only=True)
    assert run("blockdev", "--getro", device.path).strip() == "1"


def test_a_device_is_connected_under_its_own_export_name(
    start_server: StartServer, socket_path: Path, run_dir: Path
) -> None:
    start_server("eval", f"open={ONLY_UNDER.format(IDENTIFIER)}", "get_size=echo 1M", READ_ZEROS)
    assert attach(socket_path, run_dir, read_only=True).identifier == IDENTIFIER


def test_interrupted_connect_leaves_nothing(
    start_server: StartServer, socket_path: Path, run_dir: Path
) -> None:
    start_server("--filter=delay", "memory", "16M", "delay-open=3")
    command = _connect_command(socket_path, run_dir)
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, preexec_fn=hear_interrupts) as it:
        while it.poll() is None and nothing_left(run_dir):
            time.sleep(0.01)
        it.send_signal(signal.SIGINT)
        assert it.wait(60) != 0
    assert nothing_left(run_dir)


def test_dead_server_can_be_detached_by_force_only(
    start_server: StartServer, socket_path: Path, run_dir: Path
) -> None:
    server = start_server("memory", "16M")
    device = attach(socket_path, run_dir)
    server.kill()
    server.wait()
    with pytest.raises(DeviceNotFlushed, match="--force"):
        disconnect(IDENTIFIER, run_dir=run_dir)
    assert find(IDENTIFIER, run_dir=run_dir) == device
    assert disconnect(IDENTIFIER, force=True, run_dir=run_dir)
    assert nothing_left(run_dir)


def test_writes_that_were_refused_are_not_forgotten_though_the_kernel_tells_of_them_once(
    start_server: StartServer, socket_path: Path, run_dir: Path, tmp_path: Path
) -> None:
    full = tmp_path / "full"
    start_server(
        *("--filter=error", "memory", "16M"),
        *("error-pwrite=ENOSPC", "error-pwrite-rate=100%", f"error-pwrite-file={full}"),
    )
    device = attach(socket_path, run_dir)
    full.touch()
    run("dd", "if=/usr/bin/env", f"of={device.path}", "bs=4096", "count=1", "status=none")
    with pytest.raises(WritesFailed, match="--force"):
        disconnect(IDENTIFIER, run_dir=run_dir)
    full.unlink()
    run("sync", device.path)  # the kernel says that all is well
    with pytest.raises(WritesFailed, match="could not be flushed"):
        disconnect(IDENTIFIER, run_dir=run_dir)
    assert find(IDENTIFIER, run_dir=run_dir) == device
    assert "could not be flushed" in str(disconnect(IDENTIFIER, force=True, run_dir=run_dir))
    assert nothing_left(run_dir)
    attach(socket_path, run_dir)
    assert disconnect(IDENTIFIER, run_dir=run_dir) is None
    assert nothing_left(run_dir)


def test_half_made_connection_is_cleared(
    start_server: StartServer, socket_path: Path, run_dir: Path
) -> None:
    start_server("memory", "16M")
    device = attach(socket_path, run_dir)
    run("losetup", "-d", device.path)  # as if a connect had been killed before losetup
    assert find(IDENTIFIER, run_dir=run_dir) is None
    attach(socket_path, run_dir)
    disconnect(IDENTIFIER, run_dir=run_dir)
    assert nothing_left(run_dir)


def test_relative_socket_and_linked_run_dir(
    start_server: StartServer, socket_path: Path, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_server("memory", "16M")
    monkeypatch.chdir(socket_path.parent)
    run_dir.mkdir()
    Path("link").symlink_to(run_dir)
    device = connect("fuse", Path(socket_path.name), IDENTIFIER, run_dir=Path("link"))
    assert find(IDENTIFIER, run_dir=run_dir) == device
    disconnect(IDENTIFIER, run_dir=Path("link"))
    assert nothing_left(run_dir)


def test_a_glance_is_no_use(
    start_server: StartServer,
    socket_path: Path,
    run_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What udev does to a device that was just written must not refuse its detachment."""
    monkeypatch.setattr(block, "_GLANCE_S", 60)
    start_server("memory", "16M")
    device = attach(socket_path, run_dir)
    glance = ("sh", "-c", f"exec 3<{device.path}; echo; sleep 0.3")
    with subprocess.Popen(glance, stdout=subprocess.PIPE) as it:
        assert it.stdout is not None
        it.stdout.readline()
        disconnect(IDENTIFIER, run_dir=run_dir)
    assert nothing_left(run_dir)


def test_server_is_let_go(start_server: StartServer, socket_path: Path, run_dir: Path) -> None:
    server = start_server("--filter=exitlast", "memory", "16M")
    attach(socket_path, run_dir)
    disconnect(IDENTIFIER, run_dir=run_dir)
    server.wait(60)  # it exits when the last connection closes


def test_device_outlives_its_maker(
    start_server: StartServer, socket_path: Path, run_dir: Path
) -> None:
    start_server("memory", "16M")
    command = _connect_command(socket_path, run_dir, then="os.killpg(0, signal.SIGINT)")
    subprocess.run(
        command,
        timeout=60,
        start_new_session=True,
        stderr=subprocess.DEVNULL,
        preexec_fn=hear_interrupts,
    )
    time.sleep(0.2)  # for a signal that must not arrive there is no condition to wait for
    device = find(IDENTIFIER, run_dir=run_dir)
    assert device is not None
    run("dd", f"if={device.path}", "of=/dev/null", "bs=4k", "count=1", "iflag=direct")


@pytest.mark.parametrize("identifier", ["", "../up", "a/b", "a b", ".hidden", "x" * 65])
def test_bad_identifier(identifier: str, socket_path: Path, run_dir: Path) -> None:
    with pytest.raises(ValueError, match="identifier"):
        connect("fuse", socket_path, identifier, run_dir=run_dir)
