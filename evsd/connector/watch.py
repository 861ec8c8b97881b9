"""Keeps one kernel device alive: when its server dies, connects it to the next one.

`connect` starts one such process per device, `disconnect` ends it. Without it a server that was
killed, or merely stalled for longer than the kernel's request time-out, would leave the device
without a link for ever. It tells syslog what happens.

    python -m evsd.connector.watch IDENTIFIER SOCKET
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import syslog
import threading
import time
from pathlib import Path

from . import kernel, process
from .errors import ConnectorError

_MODULE = "evsd.connector.watch"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 30.0
_PROBE_SECONDS = 5.0
_GONE_SECONDS = 5.0


def start(identifier: str, socket_path: Path) -> None:
    """Start the watcher of a device as a process of its own session."""
    subprocess.Popen(  # noqa: S603 - argv is ours, no shell
        (sys.executable, "-m", _MODULE, identifier, str(socket_path.absolute())),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        # Complete, not inherited: this runs as root for as long as the device lives.
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(_import_root())},
        start_new_session=True,
    )


def stop(identifier: str) -> None:
    """End the watcher of a device, if there is one."""
    pid = process.find(_MODULE, identifier)
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        process.wait_gone(pid, timeout=_GONE_SECONDS)


def main() -> None:
    """Watch until the device is gone."""
    identifier, socket_path = sys.argv[1], Path(sys.argv[2])
    syslog.openlog("evsd-connector", syslog.LOG_PID, syslog.LOG_DAEMON)
    threading.Thread(target=_watch, args=(identifier, socket_path), daemon=True).start()
    # Somebody else may take the device away (nbd-client -d): the kernel has no event for that.
    while kernel.find(identifier) is not None:
        time.sleep(_GONE_SECONDS)


def _watch(identifier: str, socket_path: Path) -> None:
    with kernel.dead_links() as deaths:
        # What died before we listened is not told any more.
        if not kernel.answers(identifier, timeout=_PROBE_SECONDS):
            _revive(identifier, socket_path)
        for dead in deaths:
            if dead == identifier:
                _revive(identifier, socket_path)


def _revive(identifier: str, socket_path: Path) -> None:
    """Try until I/O moves or the device is gone; also after I/O has begun to fail.

    The pauses grow: every attempt on a key that may not be used is a record in the audit log.
    """
    syslog.syslog(syslog.LOG_WARNING, f"{identifier}: lost the server at {socket_path}")
    pause = _FIRST_PAUSE
    while kernel.find(identifier) is not None:
        try:
            kernel.reconnect(identifier, socket_path)
        except ConnectorError as error:
            syslog.syslog(syslog.LOG_WARNING, f"{identifier}: {error}")
        else:
            syslog.syslog(syslog.LOG_NOTICE, f"{identifier}: reconnected")
            return
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _import_root() -> Path:
    return Path(__file__).resolve().parents[2]


if __name__ == "__main__":
    main()
