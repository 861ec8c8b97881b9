"""The server of an attached volume: one nbdkit process with our plugin.

It is started in two steps, so that a crash of evsd between them leaves no orphan: the process
waits for its ticket on a pipe; evsd records its pid first and writes the ticket then. If evsd
dies in between, the pipe closes without a ticket and the process ends.
"""

from __future__ import annotations

import os
import secrets
import select
import signal
import socket
import subprocess
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path

import nbd_plugin
from evsd.processes import is_running, start_time

THREADS = 4  # 144 k IOPS with 4 nbdkit threads; 16 were slower, the GIL is fought over
START_TIMEOUT_S = 20
STOP_TIMEOUT_S = 20
PLUGIN = Path(nbd_plugin.__file__).parent / "plugin.py"


class ServerFailed(Exception):
    """The process ended, or did not answer in time; the message is what it said last."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What a server is started with."""

    attachment_id: str
    volume_file: Path
    socket: Path
    log: Path
    release_socket: Path
    read_only: bool


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A process that is a server, named beyond pid reuse."""

    pid: int
    started: int

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return is_running(self.pid, self.started)

    def stop(self) -> None:
        """Let it finish the requests in flight, flush and end; kill it if it can't."""
        if not self.running:
            return
        pidfd = os.pidfd_open(self.pid)
        try:
            for sign in (signal.SIGTERM, signal.SIGKILL):
                signal.pidfd_send_signal(pidfd, sign)
                if select.select([pidfd], [], [], STOP_TIMEOUT_S)[0]:
                    return
        except ProcessLookupError:
            return
        finally:
            os.close(pidfd)


class WaitingServer:
    """A started server that waits for its ticket. Leave the `with` block without: it ends."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        reading, self._writing = os.pipe2(os.O_CLOEXEC)
        settings.socket.unlink(missing_ok=True)  # nbdkit leaves it behind when it is killed
        try:
            with settings.log.open("ab") as log:
                self._process = subprocess.Popen(  # noqa: S603
                    _command(settings, reading),
                    env=_environment(),
                    pass_fds=[reading],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd="/",
                    start_new_session=True,  # it must survive evsd and Ctrl-C
                    umask=0o077,
                )
        finally:
            os.close(reading)
        started = start_time(self._process.pid)
        if started is None:
            raise ServerFailed(self._last_words())
        self.process = ServerProcess(self._process.pid, started)
        # The watcher waits for the process, not Popen: it may outlive evsd.
        self._process.returncode = 0

    def release(self, ticket: str) -> None:
        """Hand over the ticket and wait until the socket accepts; raises `ServerFailed`."""
        os.write(self._writing, ticket.encode())
        self.close()
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _accepts(self._settings.socket):
            if not self.process.running:
                raise ServerFailed(self._last_words())
            if time.monotonic() > deadline:
                self.process.stop()
                raise ServerFailed(f"no answer within {START_TIMEOUT_S} s")
            time.sleep(0.002)

    def close(self) -> None:
        """Close the ticket's pipe; without a ticket in it the process ends."""
        if self._writing >= 0:
            os.close(self._writing)
            self._writing = -1

    def _last_words(self) -> str:
        lines = self._settings.log.read_text(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("nbdkit: error: ") if lines else "it ended without a word"


def new_ticket() -> str:
    """A secret that gives a server the right to one volume's key."""
    return secrets.token_hex(32)


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def _command(settings: ServerSettings, ticket_fd: int) -> list[str]:
    return [
        "/usr/bin/nbdkit",
        "--foreground",
        f"--unix={settings.socket}",
        f"--threads={THREADS}",
        *(["--readonly"] if settings.read_only else []),
        "python",
        str(PLUGIN),
        f"file={settings.volume_file}",
        f"attachment={settings.attachment_id}",
        f"release_socket={settings.release_socket}",
        f"ticket_fd={ticket_fd}",
    ]


def _environment() -> dict[str, str]:
    # nbdkit's Python finds its prefix through PATH: with another python3 first in it the plugin
    # died of ModuleNotFoundError. So nothing is inherited.
    packages = os.pathsep.join([str(PLUGIN.parent.parent), sysconfig.get_path("purelib")])
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "PYTHONPATH": packages}
