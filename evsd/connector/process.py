"""Processes that outlive the command that started them, found again by their command lines."""

from __future__ import annotations

import contextlib
import os
import select
from pathlib import Path


def find(*words: str) -> int | None:
    """Process id of the one of ours whose arguments include all these words, in any order.

    Anybody may start a process with such arguments: it must be of the same user.
    """
    wanted = {os.fsencode(word) for word in words}
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # processes end while we look
            ours = cmdline.stat().st_uid == os.geteuid()
            if ours and wanted <= set(cmdline.read_bytes().split(b"\0")):
                return int(cmdline.parent.name)
    return None


def wait_gone(pid: int, *, timeout: float) -> bool:
    """Wait for the end of a process, our child or not; False if it still runs."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        ready, _, _ = select.select([fd], [], [], timeout)
    finally:
        os.close(fd)
    with contextlib.suppress(ChildProcessError):  # not our child: init reaps it
        os.waitpid(pid, os.WNOHANG)
    return bool(ready)
