"""When an nbdkit serves, and when it has done with its clients: a moment after they think so."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from tests.support.sockets import listens

START_TIMEOUT_S = 60


def locked(file: Path) -> bool:
    """Whether a server has clients, or has not yet closed the last one's connection."""
    return subprocess.run(["flock", "--nonblock", file, "true"], check=False).returncode == 1


def await_start(process: subprocess.Popen[bytes], path: Path, log: Path | None = None) -> None:
    """Wait until it listens on the unix socket, whose file is there a moment before."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not listens(path):
        assert process.poll() is None, log.read_text() if log else "nbdkit did not start"
        assert time.monotonic() < deadline, "nbdkit does not listen"
        time.sleep(0.002)
