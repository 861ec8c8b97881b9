"""What runs and is left behind on this machine, where other tests come and go meanwhile."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def read_all(directory: str, pattern: str) -> dict[Path, str]:
    """The files below a directory of /proc or /sys, without those that vanish meanwhile."""
    found = {}
    for path in Path(directory).glob(pattern):
        with contextlib.suppress(OSError):
            found[path] = path.read_bytes().decode(errors="replace")
    return found


def command_lines() -> dict[int, str]:
    """Of every process but this one."""
    texts = read_all("/proc", "[0-9]*/cmdline")
    found = {int(path.parent.name): text.replace("\0", " ") for path, text in texts.items()}
    found.pop(os.getpid(), None)
    return found


def children_named(parent: int, name: str) -> list[int]:
    """Processes that `parent` has started, by the name they have given themselves."""
    found = []
    for text in read_all("/proc", "[0-9]*/stat").values():
        known, _, rest = text.rpartition(")")
        pid, _, comm = known.partition(" (")
        state, ppid = rest.split()[:2]
        if (comm, int(ppid)) == (name, parent) and state != "Z":
            found.append(int(pid))
    return found


def file_behind(device: str) -> Path:
    """Of a loop device; the number itself is soon somebody else's."""
    return Path(Path(f"/sys/block/{Path(device).name}/loop/backing_file").read_text().strip())


def traces(place: Path) -> list[str]:
    """Processes, mounts and loop devices that name a path."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    loops = read_all("/sys/block", "loop*/loop/backing_file").values()
    return [line for line in (*command_lines().values(), *mounts, *loops) if str(place) in line]
