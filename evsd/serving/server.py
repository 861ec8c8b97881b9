"""The server of an attached volume: one nbdkit process with our plugin.

It is started in two steps, so that a crash of evsd between them leaves no orphan: the process
waits for its ticket on a pipe; evsd records its pid first and writes the ticket then. If evsd
dies in between, the pipe closes without a ticket and the process ends.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import nbd_plugin
from evsd.processes import Process, executable, has_capabilities
from evsd.resource import Resource
from evsd.serving.failures import ServerFailed, ServerNotEnded
from evsd.serving.inherited import Inherited
from evsd.serving.key_releases import LayerKey

NBDKIT = Path("/usr/bin/nbdkit")
THREADS = 4
START_TIMEOUT_S = 20
STOP_TIMEOUT_S = 20
PROBE_TIMEOUT_S = 5
# NBD protocol, fixed newstyle: the server's greeting; the client's flags with NBD_OPT_ABORT.
GREETING_LENGTH = 18
ABORT = struct.pack(">I8sII", 3, b"IHAVEOPT", 2, 0)
PLUGIN = Path(nbd_plugin.__file__).parent / "plugin.py"
FRONT = PLUGIN.with_name("front.so")


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What a server is started with.

    `layers` is what the disk's file stands on, the highest first; `layer_keys` are those of
    the disks of which it has layers if it is a clone. `clients` is where it reports who
    is connected: None for one that an earlier evsd has started first, which goes on as it began.
    `control` is where it can be told something. `device` is the export name of the host's device,
    if there is to be one.
    """

    attachment_id: str
    volume_file: Path
    socket: Path
    log: Path
    release_socket: Path
    read_only: bool
    layers: tuple[Path, ...] = ()
    layer_keys: Mapping[str, LayerKey] = field(default_factory=dict)
    clients: Path | None = None
    control: Path | None = None
    device: str = ""


def stop(server: Process) -> None:
    """Let a server finish the requests in flight, flush and end; kill it if it can't.

    Returns when all its threads have ended and the volume is free; raises `ServerNotEnded` if
    they don't even when it is killed, as a thread in a disk's hands may: its volume must not get a
    second server then.
    """
    try:
        pidfd = os.pidfd_open(server.pid)
    except ProcessLookupError:
        return
    try:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            # Asked after the pidfd was opened: the pid can't be another's from here on.
            if not server.running:
                return
            signal.pidfd_send_signal(pidfd, sign)
            if ended(pidfd, STOP_TIMEOUT_S):
                return
    except ProcessLookupError:
        return
    finally:
        os.close(pidfd)
    raise ServerNotEnded(f"process {server.pid} can't be ended, its disk may hang")


def ended(pidfd: int, timeout_s: float) -> bool:
    """Whether the process of a pidfd ends in time."""
    poll = select.poll()  # not select(), which takes no descriptor above 1023
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))


class WaitingServer(Resource):
    """A started server that waits for its ticket; leave the `with` block without, and it ends.

    Raises `ServerFailed` for whatever keeps it from serving.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        reading, self._writing = os.pipe2(os.O_CLOEXEC)
        self._inherited = Inherited()
        try:
            self._process = self._start(reading)
        except OSError as error:
            os.close(self._writing)
            self._inherited.discard()
            raise ServerFailed(f"nbdkit can't be started: {error}") from error
        finally:
            os.close(reading)
        self._has_ticket = False
        pid = self._process.pid
        self.process = Process.of(pid) or Process(pid, started=0, boot="")  # it ended at once

    def close(self) -> None:
        """End it, unless it got its ticket."""
        if not self._has_ticket:
            self._inherited.discard()
            os.close(self._writing)
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def release(self, ticket: str) -> None:
        """Hand over the ticket, and its paths, to the attachment's process on record.

        From here on it is the watcher's to wait for.
        """
        # nbdkit leaves it behind when it is killed. Not earlier: until this process is on record
        # the socket may be that of another, which serves.
        self._settings.socket.unlink(missing_ok=True)
        self._inherited.place()
        try:
            os.write(self._writing, ticket.encode())
        except BrokenPipeError as error:
            raise ServerFailed(self._last_words()) from error
        os.close(self._writing)
        self._has_ticket = True
        self._process.returncode = 0

    def await_ready(self) -> None:
        """Wait until the socket accepts."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not accepts(self._settings.socket):
            if not self.process.running:
                raise ServerFailed(self._last_words())
            if time.monotonic() > deadline:
                stop(self.process)
                raise ServerFailed(f"no answer within {START_TIMEOUT_S} s")
            time.sleep(0.002)

    def _start(self, ticket_fd: int) -> subprocess.Popen[bytes]:
        settings = self._settings
        with self._inherited as inherited, settings.log.open("ab") as log:
            inherited.add("ticket_fd", ticket_fd)
            inherited.add_layers(settings.layers, settings.layer_keys)
            if settings.clients is not None:
                inherited.add_report(settings.clients)
            if settings.control is not None:
                inherited.add_control(settings.control)
            return subprocess.Popen(  # noqa: S603
                [*_command(settings), *inherited.arguments],
                env=_environment(),
                pass_fds=inherited.descriptors,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,  # it must survive evsd and Ctrl-C
                umask=0o077,
            )

    def _last_words(self) -> str:
        lines: list[str] = []
        with contextlib.suppress(FileNotFoundError):  # the attachment was ended meanwhile
            lines = self._settings.log.read_text(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("nbdkit: error: ") if lines else "it ended without a word"


def new_ticket() -> str:
    """A secret that gives a server the right to one volume's key."""
    return secrets.token_hex(32)


def accepts(path: Path) -> bool:
    """Whether an NBD server greets on the socket; takes leave politely, or it would be logged."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(PROBE_TIMEOUT_S)
        try:
            probe.connect(str(path))
            greeting = probe.recv(GREETING_LENGTH, socket.MSG_WAITALL)
            probe.sendall(ABORT)
            probe.recv(1)
        except OSError:
            return False
    return greeting.startswith(b"NBDMAGIC")


def may_be_server(pid: int) -> bool:
    """Whether a process of evsd's own user may be a volume's server, whatever it does to hide it.

    Confined, a server runs no other program than nbdkit. It can keep others from seeing that, and
    does (`process_harden`); but it has no capabilities, and nothing can give it any.
    """
    try:
        return executable(pid) == NBDKIT.resolve()
    except PermissionError:
        return not has_capabilities(pid)
    except (FileNotFoundError, ProcessLookupError):
        return True


def _command(settings: ServerSettings) -> list[str]:
    return [
        str(NBDKIT),
        "--foreground",
        f"--unix={settings.socket}",
        f"--threads={THREADS}",
        *(["--readonly"] if settings.read_only else []),
        str(FRONT),
        str(PLUGIN),
        f"file={settings.volume_file}",
        f"attachment={settings.attachment_id}",
        f"release_socket={settings.release_socket}",
        *([f"device={settings.device}"] if settings.device else []),
    ]


def _environment() -> dict[str, str]:
    # nbdkit's Python finds its prefix through PATH: with another python3 first in it the plugin
    # died of ModuleNotFoundError. So nothing is inherited.
    return {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "LD_PRELOAD": str(FRONT),  # see nbd_plugin/native/cork.h and read_ahead.h
    }
