"""Waiting for an evsd that is being started: the next command may be typed at once."""

from __future__ import annotations

import errno
import socket
import time
from pathlib import Path

from evsd.cli.problems import note

# Where a process shows that it is about to listen, on however slow a machine; and where none does.
SEEN_S = 60
UNSEEN_S = 5
SILENT_S = 0.5
POLL_S = 0.1
NOT_YET = (errno.ENOENT, errno.ECONNREFUSED)


def await_evsd(path: Path) -> None:
    """Return when somebody listens on the socket, or hope is over: the request will say what is."""
    began, told = time.monotonic(), False
    while _connect(path) in NOT_YET:
        waited = time.monotonic() - began
        if waited > UNSEEN_S and (waited > SEEN_S or not _is_starting(path)):
            return
        if waited > SILENT_S and not told:
            note(f"waiting for evsd to listen on {path}")
            told = True
        time.sleep(POLL_S)


def _connect(path: Path) -> int:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path))


def _is_starting(path: Path) -> bool:
    """Whether a process holds the socket already, or is an evsd with this state directory."""
    bound = Path("/proc/net/unix").read_text().splitlines()
    return any(line.endswith(f" {path}") for line in bound) or any(
        _is_evsd(process, path.parent) for process in Path("/proc").glob("[0-9]*")
    )


def _is_evsd(process: Path, state: Path) -> bool:
    try:
        words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:  # it has ended
        return False
    values = [word.removeprefix("--state-dir=") for word in words]
    return any(word.startswith("--state-dir") for word in words) and str(state) in values
