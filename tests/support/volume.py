"""A volume and its server: a real file, a real nbdkit with the plugin, a real key service."""

from __future__ import annotations

import hashlib
import os
import secrets
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nbd_plugin import luks2
from tests.support import libnbd
from tests.support.key_service import KeyService, running
from tests.support.nbdkit import await_start

PLUGIN = Path(luks2.__file__).with_name("plugin.py")
FRONT, PYTHON = str(PLUGIN.with_name("front.so")), "python"  # what nbdkit runs the plugin by
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
MIB = 1024 * 1024
STOP_TIMEOUT_S = 60


def new_header(dek: bytes, size: int, *, thin: bool = True, **changes: Any) -> luks2.Header:
    """A header as evsd makes it."""
    salt = os.urandom(32)
    header = luks2.Header(
        uuid=str(uuid.uuid4()),
        label="",
        size=size,
        thin=thin,
        wrapped_dek=os.urandom(188),
        cmk_id=str(uuid.uuid4()),
        cmk_version=1,
        context={"project": "p", "volume": "v"},
        digest_salt=salt,
        digest_iterations=1000,
        digest=hashlib.pbkdf2_hmac("sha256", dek, salt, 1000, 32),
        sequence=1,
    )
    return header._replace(**changes)


def create(path: Path, header: luks2.Header) -> None:
    """Make the volume's file; a thick one gets ciphertext everywhere at the first zeroing."""
    with path.open("w+b") as file:
        file.truncate(luks2.DATA_OFFSET + header.size)
        luks2.write(file.fileno(), header)


@dataclass
class Volume:
    """A volume's file, its key service and how to serve it."""

    path: Path
    header: luks2.Header
    service: KeyService
    socket: Path
    attachment: str = "a1b2c3"
    plugin: Path = PLUGIN
    front: str = FRONT
    wrapper: tuple[str, ...] = ()
    threads: int = 4
    arguments: tuple[str, ...] = ()
    inherited: tuple[int, ...] = ()
    log: Path = field(init=False)
    ticket_pipe: str = ""  # as /proc/PID/fd shows it

    def __post_init__(self) -> None:
        """The server's log is beside its socket."""
        self.log = self.socket.with_suffix(".log")

    @property
    def uri(self) -> str:
        """What NBD clients are given."""
        return f"nbd+unix:///?socket={self.socket}"

    def start(self, ticket: str | None = None, *nbdkit_options: str) -> subprocess.Popen[bytes]:
        """Start nbdkit and hand it the ticket; does not wait."""
        self.socket.unlink(missing_ok=True)
        reading, writing = os.pipe()
        self.ticket_pipe = str(Path(f"/proc/self/fd/{reading}").readlink())
        command = [
            *self.wrapper,
            "nbdkit",
            "--foreground",
            f"--unix={self.socket}",
            f"--threads={self.threads}",
            *nbdkit_options,
            self.front,
            str(self.plugin),
            f"file={self.path}",
            f"attachment={self.attachment}",
            f"release_socket={self.service.socket}",
            f"ticket_fd={reading}",
            *self.arguments,
        ]
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                command,
                env=ENVIRONMENT | ({} if self.front == PYTHON else {"LD_PRELOAD": self.front}),
                pass_fds=[reading, *self.inherited],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        os.close(reading)
        os.write(writing, (self.service.ticket if ticket is None else ticket).encode())
        os.close(writing)
        return process

    @contextmanager
    def served(
        self, *nbdkit_options: str, ticket: str | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Serve the volume until the block ends."""
        process = self.start(ticket, *nbdkit_options)
        try:
            await_start(process, self.socket, self.log)
            yield process
        finally:
            stop(process, self.server_pid(process))

    def server_pid(self, process: subprocess.Popen[bytes]) -> int:
        """Of nbdkit, where `process` may be what wraps it, or was before it became nbdkit."""
        if not self.wrapper or process.poll() is not None:
            return process.pid
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        return int(children.split()[0]) if children else process.pid

    @contextmanager
    def connected(self, count: int = 1) -> Iterator[list[Any]]:
        """Connections of libnbd to the server, closed at the end."""
        with ExitStack() as stack:
            yield [stack.enter_context(self.connection()) for _ in range(count)]

    @contextmanager
    def connection(self) -> Iterator[Any]:
        """One connection of libnbd, closed at the end."""
        handle = libnbd.load().NBD()
        handle.add_meta_context("base:allocation")
        # The server's checks are under test, not libnbd's.
        handle.set_strict_mode(0)
        handle.connect_unix(str(self.socket))
        try:
            yield handle
        finally:
            if not (handle.aio_is_dead() or handle.aio_is_closed()):  # its server has ended
                handle.shutdown()

    def ciphertext(self, offset: int, length: int) -> bytes:
        """What is in the file at the volume's `offset`."""
        with self.path.open("rb") as file:
            file.seek(luks2.DATA_OFFSET + offset)
            return file.read(length)


def stop(process: subprocess.Popen[bytes], server_pid: int) -> None:
    """End a server in order; kill it when that takes too long."""
    if process.poll() is None:
        os.kill(server_pid, signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.kill(server_pid, signal.SIGKILL)
        process.wait()


def eventually(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until it holds: nbdkit closes connections after their clients have gone."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@contextmanager
def new_volume(
    directory: Path, *, size: int = 16 * MIB, thin: bool = True, file: Path | None = None
) -> Iterator[Volume]:
    """A fresh volume with its key service running; sockets and file in `directory`."""
    dek = os.urandom(64)
    header = new_header(dek, size, thin=thin)
    path = file or directory / "volume.luks"
    create(path, header)
    service = KeyService(directory / "keys.sock", dek, secrets.token_hex(32))
    with running(service):
        yield Volume(path, header, service, directory / "nbd.sock")
