"""Files on FUSE that are slow, fail or hang: nbdkit does it, nbdfuse makes a file of it."""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.daemon import halted, temporary_state
from tests.support.nbdkit import START_TIMEOUT_S, await_start
from tests.support.transfer import run

CONNECTIONS = 8  # on a single one nbdfuse now and then lets reads wait for each other


@contextmanager
def fuse_file(mounted: Path, *command: str) -> Iterator[Path]:
    """The export of an nbdkit as the file `mounted`; the command without its own options."""
    mounted.touch()
    socket = mounted.with_suffix(".sock")
    nbdkit = ["nbdkit", "--foreground", "--exit-with-parent", f"--unix={socket}", *command]
    uri = f"nbd+unix:///?socket={socket}"
    with subprocess.Popen(nbdkit) as server:
        try:
            await_start(server, socket)
            fuse = ["nbdfuse", f"--connections={CONNECTIONS}", str(mounted), uri]
            with subprocess.Popen(fuse) as process:
                try:
                    await_mount(mounted, process)
                    yield mounted
                finally:
                    subprocess.run(["fusermount3", "-u", str(mounted)], check=True)
                    process.wait(START_TIMEOUT_S)
        finally:
            server.terminate()


def await_mount(mounted: Path, nbdfuse: subprocess.Popen[bytes]) -> None:
    """Wait until the empty file is covered by the one that nbdfuse serves."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not mounted.stat().st_size:
        assert nbdfuse.poll() is None, "nbdfuse did not start"
        assert time.monotonic() < deadline, "nbdfuse does not serve"
        time.sleep(0.01)


@contextmanager
def scripted(path: Path, mounted: Path, **before: str) -> Iterator[Path]:
    """`path` as a file for which a shell script runs before each pread, pwrite or flush.

    $3 is the length and $4 the offset of pread and pwrite; a script may fail the call.
    """
    file = shlex.quote(str(path))
    actions = {
        "pread": f"dd if={file} iflag=skip_bytes,count_bytes skip=$4 count=$3",
        "pwrite": f"dd of={file} oflag=seek_bytes seek=$4 conv=notrunc",
        "flush": ":",
    }
    scripts = [f"get_size=stat -c %s {file}", "can_write=exit 0", "can_flush=exit 0"]
    scripts += ["can_multi_conn=exit 0", "thread_model=echo parallel"]
    for name, action in actions.items():
        scripts.append(f"{name}={before.get(name, ':')}; {action} 2>/dev/null")
    with fuse_file(mounted, "eval", *scripts):
        yield mounted


def failing(path: Path, mounted: Path, **conditions: str) -> AbstractContextManager[Path]:
    """`path` as a file in which pread, pwrite or flush fail with EIO while a condition holds.

    A condition is a shell command, see `scripted`.
    """
    fail = "then echo EIO >&2; exit 1; fi"
    return scripted(
        path, mounted, **{name: f"if {when}; {fail}" for name, when in conditions.items()}
    )


def waiting_while(condition: str) -> str:
    """A shell script for `scripted` that ends with the condition, and fails after a minute."""
    limit = "[ $n -lt 6000 ] || { echo ETIMEDOUT >&2; exit 1; }"
    return f"n=0; while {condition}; do n=$((n + 1)); {limit}; sleep 0.01; done"


@dataclass(frozen=True)
class HangingDisk:
    """A pool on a disk that hangs while it is told to: what waits for it can't be killed."""

    pool: Path
    config: Path  # for evsd
    _nbdkit: Path  # where its process id is

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """The disk hangs for the block."""
        with halted(int(self._nbdkit.read_text())):
            yield


@contextmanager
def hanging_pool() -> Iterator[HangingDisk]:
    """A pool on ext4 on a loop device over a file that nbdkit holds in memory."""
    with temporary_state() as directory:
        pool, config = directory / "pool", directory / "evsd.toml"
        disk = HangingDisk(pool, config, directory / "nbdkit.pid")
        pool.mkdir()
        config.write_text(f'pool = "{pool}"\n')
        pidfile = f"--pidfile={directory / 'nbdkit.pid'}"
        with fuse_file(directory / "disk", pidfile, "memory", "3G") as file:
            device = run("losetup", "--find", "--show", file).strip()
            try:
                run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", device)
                run("mount", "-o", "sync", device, pool)  # a write hangs, not only a later fsync
                (pool / "lost+found").rmdir()
                try:
                    yield disk
                finally:
                    run("umount", pool)
            finally:
                run("losetup", "--detach", device)
