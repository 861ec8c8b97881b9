"""Processes that outlive the command that started them, found again by their command lines."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path


def find(*words: str) -> int | None:
    """Process id of the one of root's whose arguments include all these words, in any order."""
    return next(find_all(*words), None)


def find_all(*words: str) -> Iterator[int]:
    """Process ids of all of root's whose arguments include all these words, in any order.

    Anybody may start a process with such arguments: only root's can be ours, whoever looks.
    """
    wanted = {os.fsencode(word) for word in words}
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # processes end while we look
            if cmdline.stat().st_uid == 0 and wanted <= set(cmdline.read_bytes().split(b"\0")):
                yield int(cmdline.parent.name)


def end(pid: int, by: signal.Signals, *, timeout: float) -> None:
    """Send a process the signal that ends it, and wait for that."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, by)
    wait_gone(pid, timeout=timeout)


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
