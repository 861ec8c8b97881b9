"""Our server and its peers, all over files in one directory."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.support.volume import MIB, PYTHON, new_volume

OURS = "evsd"
BEFORE = "evsd before"  # as another checkout has built it
PLAIN = "nbdkit"
LUKS_FILTER = "nbdkit luks filter"
QEMU = "qemu-nbd luks"
PEERS = (PLAIN, LUKS_FILTER, QEMU)


@dataclass(frozen=True)
class Running:
    """A server that listens."""

    uri: str
    pid: int


@contextmanager
def serving(name: str, directory: Path, size: int, before: Path | None = None) -> Iterator[Running]:
    """Run a server over `size` bytes until the block ends; `directory` is its own.

    `before` is the checkout that `BEFORE` is of.
    """
    if name in (OURS, BEFORE):
        with new_volume(directory, size=size) as volume:
            if name == BEFORE and before:
                plugin = before / "nbd_plugin" / "plugin.py"
                front = plugin.with_name("front.so")
                volume = replace(
                    volume, plugin=plugin, front=str(front) if front.exists() else PYTHON
                )
            with volume.served() as process:
                yield Running(volume.uri, process.pid)
    else:
        with _peer(_prepare(name, directory, size), directory / "nbd.sock") as running:
            yield running


def _prepare(name: str, directory: Path, size: int) -> list[str]:
    """Make the peer's file; gives its command line, in which SOCKET stands for the socket."""
    file = directory / "file"
    with file.open("wb") as stream:
        # LUKS1's own header takes 2 MiB of an encrypted one.
        stream.truncate(size if name == PLAIN else size + 2 * MIB)
    nbdkit = ["nbdkit", "--foreground", "--unix=SOCKET", "--threads=4"]
    if name == PLAIN:
        return [*nbdkit, "file", str(file)]
    _format_luks1(file)
    if name == LUKS_FILTER:
        return [*nbdkit, "--filter=luks", "file", str(file), "passphrase=x"]
    image = f"driver=luks,key-secret=s,file.filename={file}"
    command = ["qemu-nbd", "--object", "secret,id=s,data=x", "--persistent", "--shared=8"]
    return [*command, "--socket=SOCKET", "--image-opts", image]


def _format_luks1(file: Path) -> None:
    # The peers have no LUKS2. Not by qemu-img, which now and then fails with "Unable to get
    # accurate CPU usage".
    passphrase = file.with_suffix(".key")
    passphrase.write_text("x")
    cipher = ["--cipher", "aes-xts-plain64", "--key-size", "512"]
    quick = ["--batch-mode", "--type", "luks1", "--pbkdf-force-iterations", "1000"]
    run("cryptsetup", "luksFormat", *quick, *cipher, str(file), str(passphrase))


@contextmanager
def _peer(command: list[str], socket: Path) -> Iterator[Running]:
    process = subprocess.Popen([part.replace("SOCKET", str(socket)) for part in command])
    try:
        while not socket.exists():
            if process.poll() is not None:
                raise RuntimeError(f"{command[0]} did not start")
            time.sleep(0.001)
        yield Running(f"nbd+unix:///?socket={socket}", process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def run(*command: str, cwd: Path | None = None) -> str:
    """Run to the end; gives standard output."""
    done = subprocess.run(command, cwd=cwd, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]}: {done.stderr.strip()}")
    return done.stdout
