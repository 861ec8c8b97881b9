"""What a volume's server can do after its start, and what not: the kernel sees to that."""

from __future__ import annotations

import ctypes
import errno
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.plugin.test_server import refused_connection
from tests.support.nbdkit import locked
from tests.support.no_landlock import LANDLOCK_CREATE_RULESET
from tests.support.volume import Volume, eventually

VERSION = 1  # a flag: tell it, make nothing
LANDLOCK = ctypes.CDLL(None).syscall(LANDLOCK_CREATE_RULESET, None, 0, VERSION)  # 0 is none
FIRST, TCP, SIGNALS = 1, 4, 6  # the versions that know how to refuse something

WITHOUT_LANDLOCK = (sys.executable, "-m", "tests.support.no_landlock")

CONFINED = """
import os, signal, socket, sys
from nbd_plugin import _datapath
volume, directory, parent = sys.argv[1], sys.argv[2], os.getppid()
_datapath.confine(os.fsencode(volume))
try:
    {action}
except OSError as error:
    sys.exit(error.errno)
"""


def outcome(volume: Path, action: str) -> int:
    """The errno of an action in a process that was confined to a volume; 0 when it succeeds."""
    (volume.parent / "neighbour").touch()
    script, directory = CONFINED.format(action=action), volume.parent
    command: list[str | Path] = [sys.executable, "-c", script, volume, directory]
    return subprocess.run(command, timeout=30, check=False).returncode


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "volume"
    path.write_bytes(bytes(4096))
    return path


@pytest.mark.parametrize(
    "action",
    [
        "open(volume, 'r+b').write(b'x')",
        "os.truncate(volume, 8192)",
        "open('/usr/bin/env', 'rb').read(1)",
        "socket.socket(socket.AF_UNIX).bind('\\0')",
        "os.kill(os.getpid(), 0)",
    ],
)
def test_it_can_go_on_with(file: Path, action: str) -> None:
    assert outcome(file, action) == 0


@pytest.mark.parametrize(
    ("action", "since", "error"),
    [
        ("open(f'{directory}/neighbour')", FIRST, errno.EACCES),
        ("open(f'{directory}/neighbour', 'r+')", FIRST, errno.EACCES),
        ("open('/etc/passwd')", FIRST, errno.EACCES),
        ("open(f'/proc/{parent}/environ')", FIRST, errno.EACCES),
        ("os.listdir(directory)", FIRST, errno.EACCES),
        ("open(f'{directory}/new', 'x')", FIRST, errno.EACCES),
        ("os.remove(f'{directory}/neighbour')", FIRST, errno.EACCES),
        ("os.remove(volume)", FIRST, errno.EACCES),
        ("os.rename(volume, f'{directory}/new')", FIRST, errno.EACCES),
        ("os.link(volume, f'{directory}/new')", FIRST, errno.EACCES),
        ("os.symlink('/', f'{directory}/new')", FIRST, errno.EACCES),
        ("os.mkdir(f'{directory}/new')", FIRST, errno.EACCES),
        ("os.execv('/usr/bin/true', ['true'])", FIRST, errno.EACCES),
        ("socket.create_connection(('127.0.0.1', 1))", TCP, errno.EACCES),
        ("socket.socket().bind(('127.0.0.1', 0))", TCP, errno.EACCES),
        ("os.kill(parent, 0)", SIGNALS, errno.EPERM),
    ],
)
def test_it_can_not(file: Path, action: str, since: int, error: int) -> None:
    unconfined = outcome(file, action) != error
    assert unconfined is (since > LANDLOCK)


@pytest.mark.parametrize("wrapper", [(), WITHOUT_LANDLOCK], ids=["landlock", "no landlock"])
def test_a_server_opens_no_other_file_not_even_under_its_volumes_name(
    volume: Volume, wrapper: tuple[str, ...]
) -> None:
    volume.wrapper = wrapper
    mine, other = volume.path.with_suffix(".mine"), volume.path.with_suffix(".other")
    shutil.copy(volume.path, other)
    with volume.served():
        with volume.connected() as (handle,):
            handle.pwrite(b"x" * 512, 0)
        eventually(lambda: not locked(volume.path))
        volume.path.rename(mine)
        other.rename(volume.path)
        assert "detach and attach" in refused_connection(volume)
        mine.rename(volume.path)
        with volume.connected() as (handle,):
            assert handle.pread(512, 0) == b"x" * 512


def test_without_landlock_a_server_says_so_and_serves(volume: Volume) -> None:
    volume.wrapper = WITHOUT_LANDLOCK
    with volume.served(), volume.connected() as (handle,):
        assert handle.pread(512, 0) == bytes(512)
    assert "the server is not confined" in volume.log.read_text()
