"""A block device: who uses it, and holding it so that nobody else can begin to."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from evsd.connector import command, process, wait
from evsd.connector.errors import DeviceBusy, DeviceNotFlushed, WritesFailed

# With a dead link a flush waits for as long as the kernel waits for a new one (minutes). A slow
# one is not dead: it may take any time as long as requests are completed.
_STALLED_S = 15.0

_REFUSED_REMEDY = (
    "what it refused is lost: see to its cause, detach with --force, attach again and check the "
    "filesystem"
)

# udev looks into every device that was just written and closed, for a moment.
_GLANCE_S = 1.0


@contextlib.contextmanager
def idle(device: Path, *, except_pid: int | None = None) -> Iterator[int]:
    """Hold a block device that nobody uses, except that one process; yields a descriptor of it.

    O_EXCL keeps mounts, swap, device-mapper and the like away until the end of the block, so
    nothing can slip in between the check and the removal. Raises DeviceBusy.
    """
    try:
        fd = os.open(device, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC)
    except OSError as error:
        raise _busy(device, _claimants(device) or [str(error.strerror)]) from error
    try:
        _require_unused(device, fd, except_pid)
        yield fd
    finally:
        os.close(fd)


def flush(device: Path, *, force: bool, remedy: str) -> str | None:
    """Write back what the page cache holds and have the server make it durable.

    Raises DeviceNotFlushed, with this remedy, where that does not end: as long as a kernel device
    stays, what was not written yet is written when the server is back; WritesFailed where the
    device has refused what was written. With `force` returns why it failed; None where all is
    durable.
    """
    try:
        _flush(device, remedy)
    except DeviceNotFlushed as error:
        if not force:
            raise
        return error.message
    return None


def _flush(device: Path, remedy: str) -> None:
    # A process of its own: with a dead link it can't even be killed, and ours must be able to end.
    sync = subprocess.Popen(  # noqa: S603 - argv is ours, no shell
        _sync_command(device),
        env={"LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C ends who waits for it, and leaves no half of a flush
    )
    completed = -1
    while completed != (completed := _completed(device)):
        with contextlib.suppress(subprocess.TimeoutExpired):
            _, said = sync.communicate(timeout=_STALLED_S)
            if sync.returncode:
                reason = said.strip().rpartition(": ")[2]
                raise WritesFailed(f"{device} could not be flushed: {reason}", _REFUSED_REMEDY)
            return
    sync.kill()  # it ends when the link is back, or taken away
    raise DeviceNotFlushed(f"{device} could not be flushed: the server does not answer", remedy)


def _sync_command(device: Path) -> tuple[str, str]:
    return command.require("sync", "coreutils"), str(device)


def _completed(device: Path) -> int:
    """Requests completed so far: reads, writes and flushes (Documentation/block/stat.rst)."""
    fields = (_sysfs(device) / "stat").read_text().split()
    return int(fields[0]) + int(fields[4]) + int(fields[15])


def _require_unused(device: Path, held: int, except_pid: int | None) -> None:
    """Find the users that O_EXCL does not: plain opens (dd, qemu) and loop devices over it."""

    def users() -> list[str]:
        return [*_loops_over(device), *_openers(device, held, except_pid)]

    if not wait.until(lambda: not users(), timeout=_GLANCE_S):
        raise _busy(device, users() or ["a moment ago"])


def _busy(device: Path, users: list[str]) -> DeviceBusy:
    return DeviceBusy(
        f"{device} is in use: {', '.join(users)}",
        "unmount it, or stop what has it open, and try again",
    )


def _claimants(device: Path) -> list[str]:
    """Mounts and swaps of the device and its partitions, and devices stacked on it."""
    family = {device.name, *(p.parent.name for p in _sysfs(device).glob("*/partition"))}
    mounts = [f"mounted on {place}" for name, place in _mounts() if name in family]
    swaps = [f"swap on {name}" for name in _swaps() if Path(name).name in family]
    holders = [f"held by {h.name}" for h in _sysfs(device).glob("holders/*")]
    holders += [f"held by {h.name}" for h in _sysfs(device).glob("*/holders/*")]
    return [*mounts, *swaps, *holders]


def _sysfs(device: Path) -> Path:
    return Path("/sys/class/block") / device.name


def _mounts() -> Iterator[tuple[str, str]]:
    """Device name and mount point of every mounted block device."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        source, place = line.split()[:2]
        if source.startswith("/dev/"):
            yield Path(source).name, place


def _swaps() -> list[str]:
    return [line.split()[0] for line in Path("/proc/swaps").read_text().splitlines()[1:]]


def _loops_over(device: Path) -> Iterator[str]:
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            if backing.read_text().strip() == str(device):
                yield f"held by {backing.parent.parent.name}"


def _openers(device: Path, held: int, except_pid: int | None) -> Iterator[str]:
    """Who else has the device or one of its partitions open; `held` is our own descriptor."""
    numbers = {device.stat().st_rdev, *_partition_numbers(device)}
    own = str(os.getpid())
    # A flush that hangs is no user: it would keep the device from being taken away by force.
    exempt = {str(pid) for pid in (except_pid, *process.find_all(*_sync_command(device)))}
    for entry in Path("/proc").glob("[0-9]*"):
        except_fd = str(held) if entry.name == own else None
        if entry.name not in exempt and _has_open(entry, numbers, except_fd=except_fd):
            yield f"open by process {entry.name} ({_name(entry)})"


def _partition_numbers(device: Path) -> Iterator[int]:
    for entry in _sysfs(device).glob("*/partition"):
        major, minor = (entry.parent / "dev").read_text().split(":")
        yield os.makedev(int(major), int(minor))


def _has_open(entry: Path, numbers: set[int], *, except_fd: str | None) -> bool:
    # Processes and descriptors come and go while we look.
    with contextlib.suppress(OSError):
        for fd in (entry / "fd").iterdir():
            with contextlib.suppress(OSError):
                if fd.name != except_fd and fd.stat().st_rdev in numbers:
                    return True
    return False


def _name(entry: Path) -> str:
    with contextlib.suppress(OSError):
        return (entry / "comm").read_text().strip()
    return "gone"
