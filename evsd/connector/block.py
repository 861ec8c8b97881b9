"""A block device: who uses it, and holding it so that nobody else can begin to."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from . import wait
from .errors import DeviceBusy

# With a dead link a flush waits for as long as the kernel waits for a new one (minutes). A slow
# one is not dead: it may take any time as long as requests are completed.
_STALLED_SECONDS = 15.0

# udev looks into every device that was just written and closed, for a moment.
_GLANCE_SECONDS = 1.0


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


def flush(fd: int, device: Path) -> str | None:
    """Write back what the page cache holds and have the server make it durable.

    Best effort: a device whose server is gone must still be removable. Returns why it failed.
    """
    failures: list[str] = ["the server does not answer"]

    def sync(own: int) -> None:
        try:
            os.fsync(own)
            failures.clear()
        except OSError as error:
            failures[:] = [str(error.strerror)]
        finally:
            os.close(own)

    worker = threading.Thread(target=sync, args=(os.dup(fd),), daemon=True)
    worker.start()
    completed = -1
    while worker.is_alive() and completed != (completed := _completed(device)):
        worker.join(_STALLED_SECONDS)
    return f"{device} could not be flushed: {failures[0]}" if failures else None


def _completed(device: Path) -> int:
    """Requests completed so far: reads, writes and flushes (Documentation/block/stat.rst)."""
    fields = (_sysfs(device) / "stat").read_text().split()
    return int(fields[0]) + int(fields[4]) + int(fields[15])


def _require_unused(device: Path, held: int, except_pid: int | None) -> None:
    """Find the users that O_EXCL does not: plain opens (dd, qemu) and loop devices over it."""

    def users() -> list[str]:
        return [*_loops_over(device), *_openers(device, held, except_pid)]

    if not wait.until(lambda: not users(), timeout=_GLANCE_SECONDS):
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
    for process in Path("/proc").glob("[0-9]*"):
        except_fd = str(held) if process.name == own else None
        if process.name != str(except_pid) and _has_open(process, numbers, except_fd=except_fd):
            yield f"open by process {process.name} ({_name(process)})"


def _partition_numbers(device: Path) -> Iterator[int]:
    for entry in _sysfs(device).glob("*/partition"):
        major, minor = (entry.parent / "dev").read_text().split(":")
        yield os.makedev(int(major), int(minor))


def _has_open(process: Path, numbers: set[int], *, except_fd: str | None) -> bool:
    # Processes and descriptors come and go while we look.
    with contextlib.suppress(OSError):
        for fd in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                if fd.name != except_fd and fd.stat().st_rdev in numbers:
                    return True
    return False


def _name(process: Path) -> str:
    with contextlib.suppress(OSError):
        return (process / "comm").read_text().strip()
    return "gone"
