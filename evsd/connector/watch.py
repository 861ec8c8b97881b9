"""Starting and ending the process that keeps a kernel device alive (`revive`)."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from evsd.connector import process

_MODULE = f"{__package__}.revive"
_IMPORT_ROOT = Path(__file__).resolve().parents[2]
_GONE_S = 5.0


def start(identifier: str, socket_path: Path) -> None:
    """Start the watcher of a device, in a session of its own."""
    subprocess.Popen(  # noqa: S603 - argv is ours, no shell
        (sys.executable, "-m", _MODULE, identifier, str(socket_path.absolute())),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        # Complete, not inherited: this runs as root for as long as the device lives.
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(_IMPORT_ROOT)},
        start_new_session=True,
    )


def find(identifier: str) -> int | None:
    """Process id of a device's watcher."""
    return process.find(_MODULE, identifier)


def stop(identifier: str) -> None:
    """End the watcher of a device, if there is one."""
    pid = find(identifier)
    if pid is not None:
        process.end(pid, signal.SIGTERM, timeout=_GONE_S)
