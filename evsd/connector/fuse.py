"""Transport `fuse`: nbdfuse shows the export as a file, a loop device makes it a block device.

For hosts whose kernel has no nbd. Slower than it, and nbdfuse (libnbd 1.14) aborts when its
server dies: I/O then fails instead of waiting.

    <run_dir>/<identifier>/nbd      the export as a file, served by nbdfuse
    /dev/loopN                      over that file

Both are found again in /proc/self/mountinfo and /sys/block: no state is kept.
A flush of the loop device is an fsync of the file, which nbdfuse sends as NBD_CMD_FLUSH.
"""

from __future__ import annotations

import contextlib
import fcntl
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.parse import quote

from evsd.connector import block, command, process, wait
from evsd.connector.device import Device
from evsd.connector.errors import (
    DeviceFailed,
    ServedReadOnly,
    ServerRefused,
    ServerUnreachable,
    TransportUnavailable,
)

_FILE = "nbd"
_MOUNT_S = 15.0
_EXIT_S = 15.0
_LOOP_CLR_FD = 0x4C01
_UNFLUSHED_REMEDY = (
    "it can't come back if its server was away: detach with --force, which loses "
    "what was written last, attach again and check the filesystem"
)


def available() -> bool:
    """True when this host has the programs and the kernel parts."""
    programs = all(command.find(p) for p in ("nbdfuse", "losetup", "umount"))
    return programs and _has_node("fuse") and _has_node("loop-control", "loop")


def connect(socket_path: Path, identifier: str, *, read_only: bool, run_dir: Path) -> Device:
    """Make a /dev/loopN of the server's export.

    Raises ConnectorError subclasses; nothing is left behind then.
    """
    losetup = command.require("losetup", "mount")
    _require_nodes()
    mountpoint = _mountpoint(run_dir, identifier)
    with contextlib.ExitStack() as undo:
        undo.callback(_unmount, mountpoint)
        _mount(socket_path, mountpoint, identifier, read_only=read_only)
        if not read_only and not (mountpoint / _FILE).stat().st_mode & stat.S_IWUSR:
            raise ServedReadOnly(socket_path)
        extra = ("--read-only",) if read_only else ()
        made = command.run(losetup, "--find", "--show", *extra, str(mountpoint / _FILE))
        if made.returncode != 0:
            raise DeviceFailed(
                f"no loop device: {made.stderr.strip()}", "losetup --list shows those there are"
            )
        undo.pop_all()
    return Device(Path(made.stdout.strip()), "fuse", identifier)


def find(identifier: str, *, run_dir: Path) -> Device | None:
    """The loop device over this identifier's file."""
    wanted = str(_mountpoint(run_dir, identifier) / _FILE)
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):  # devices vanish while we look
            if backing.read_text().strip() == wanted:
                return Device(Path("/dev") / backing.parent.parent.name, "fuse", identifier)
    return None


def served(identifier: str, *, run_dir: Path) -> bool:
    """Whether this identifier's file has an nbdfuse."""
    return _server(_mountpoint(run_dir, identifier)) is not None


def disconnect(identifier: str, *, force: bool, run_dir: Path) -> str | None:
    """Take the loop device, the mount and nbdfuse away, also when only some of them are there.

    Returns why data is lost, which only `force` allows; None where all was flushed. Raises
    DeviceBusy when somebody uses the device; DeviceNotFlushed; DeviceFailed when it would not go.
    """
    lost = None
    device = find(identifier, run_dir=run_dir)
    if device is not None:
        with block.idle(device.path) as fd:
            lost = block.flush(device.path, force=force, remedy=_UNFLUSHED_REMEDY)
            fcntl.ioctl(fd, _LOOP_CLR_FD)
        # Somebody else may have the number at once, so not whether it is bound.
        if not wait.until(lambda: find(identifier, run_dir=run_dir) is None, timeout=_EXIT_S):
            raise DeviceFailed(f"{device.path} would not go away", "the kernel's log says why")
    _unmount(_mountpoint(run_dir, identifier))
    return lost


def _mountpoint(run_dir: Path, identifier: str) -> Path:
    # As the kernel shows it, free of symbolic links.
    return run_dir.resolve() / identifier


def _mount(socket_path: Path, mountpoint: Path, name: str, *, read_only: bool) -> None:
    nbdfuse = command.require("nbdfuse", "libnbd-bin")
    if not socket_path.is_socket():
        raise ServerUnreachable(
            f"there is no socket {socket_path}",
            "check that the volume is attached and its server is running",
        )
    mountpoint.mkdir(mode=0o700, parents=True, exist_ok=True)
    extra = ("--readonly",) if read_only else ()
    file = mountpoint / _FILE
    uri = f"nbd+unix:///{name}?socket={quote(str(socket_path.absolute()))}"
    argv = [nbdfuse, *extra, str(file), uri]
    # An unnamed file: a pipe nobody reads any more would stop nbdfuse one day.
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(  # noqa: S603 - argv is ours, no shell
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,  # Ctrl-C of the caller's terminal must not reach it
        )
        _await_mount(server, file, log)


def _await_mount(server: subprocess.Popen[bytes], file: Path, log: IO[bytes]) -> None:
    """Wait until nbdfuse serves its file; if it does not, end it and say its own words."""
    try:
        wait.until(lambda: server.poll() is not None or _served(file), timeout=_MOUNT_S)
    except BaseException:
        server.kill()
        server.wait()
        raise
    if server.poll() is None and _served(file):
        return
    server.kill()
    server.wait()
    log.seek(0)
    said = log.read(4096).decode("utf-8", "replace").strip() or "no answer in time"
    raise ServerRefused(
        f"nbdfuse could not open the export: {said}", "the log of the volume's server says why"
    )


def _served(file: Path) -> bool:
    with contextlib.suppress(OSError):  # nbdfuse mounted and died
        return file.is_file()
    return False


def _unmount(mountpoint: Path) -> None:
    """Unmount, wait for nbdfuse to hang up, remove the directory; whatever of it is there.

    The wait matters: the server drops its key when the last connection closes.
    """
    server = _server(mountpoint)
    if server is not None and not _mounted(mountpoint):
        # A connect was interrupted while it started this one, which has nothing to hang up yet.
        process.end(server, signal.SIGKILL, timeout=_EXIT_S)
    if _mounted(mountpoint):
        done = command.run(command.require("umount", "mount"), str(mountpoint))
        if done.returncode != 0:
            raise DeviceFailed(
                f"{mountpoint} would not unmount: {done.stderr.strip()}",
                "close what has the file open and try again",
            )
    if server is not None and not process.wait_gone(server, timeout=_EXIT_S):
        raise DeviceFailed(
            f"nbdfuse (process {server}) does not end", "end it with kill, then try again"
        )
    with contextlib.suppress(FileNotFoundError):
        mountpoint.rmdir()


def _server(mountpoint: Path) -> int | None:
    nbdfuse = command.find("nbdfuse")
    return None if nbdfuse is None else process.find(nbdfuse, str(mountpoint / _FILE))


def _mounted(mountpoint: Path) -> bool:
    # Not os.path.ismount: stat fails on the mount of a dead nbdfuse.
    return str(mountpoint) in _mountpoints()


def _mountpoints() -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        yield line.split()[4].encode().decode("unicode_escape")


def _require_nodes() -> None:
    for node, module in (("fuse", "fuse"), ("loop-control", "loop")):
        if not _node(node).exists() and not command.load_module(module):
            raise TransportUnavailable(
                f"this kernel has no {module}", f"load the {module} module, or use another kernel"
            )


def _has_node(node: str, module: str | None = None) -> bool:
    return _node(node).exists() or command.load_module(module or node, dry_run=True)


def _node(name: str) -> Path:
    return Path("/dev") / name
