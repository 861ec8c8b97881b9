"""evsctl attach --transport fuse: a loop device, a real filesystem, real files."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.daemon import Evsd, until
from tests.support.traces import file_behind, traces

SOURCE = Path(__file__).parent.parent.parent / "docs"  # nothing that Python compiles meanwhile


@pytest.fixture
def device(evsd: Evsd) -> Iterator[str]:
    """The device of an attached volume `data` with an empty ext4."""
    evsd.ok("create", "data", "--size", "1G", "--key", evsd.prepare())
    made = evsd.ok("attach", "data", "--transport", "fuse")
    subprocess.run(["mkfs.ext4", "-q", made], check=True)
    yield made
    if evsd.object("show", "data")["volume"]["attachments"]:
        evsd.ok("detach", "data")


@contextmanager
def mounted(device: str, directory: Path) -> Iterator[Path]:
    subprocess.run(["mount", device, directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)


def test_files_survive_detach_and_attach(evsd: Evsd, device: str, tmp_path: Path) -> None:
    with mounted(device, tmp_path):
        subprocess.run(["cp", "-r", SOURCE, tmp_path], check=True)
    evsd.ok("detach", "data")
    again = evsd.ok("attach", "data", "--transport", "fuse")
    subprocess.run(["e2fsck", "-f", "-n", again], check=True, capture_output=True)
    with mounted(again, tmp_path):
        subprocess.run(["diff", "-r", SOURCE, tmp_path / SOURCE.name], check=True)


def test_the_device_is_shown_and_gone_after_detach(evsd: Evsd, device: str) -> None:
    assert evsd.attachment("data")["device"] == device
    file = file_behind(device)
    evsd.ok("detach", "data")
    assert not traces(file)
    assert str(evsd.state) not in Path("/proc/self/mountinfo").read_text()
    assert evsd.server_pids() == []


def test_a_device_keeps_its_size_until_it_is_attached_again_and_that_is_said(
    evsd: Evsd, device: str, tmp_path: Path
) -> None:
    """Nbdfuse asks for the size once: `losetup -c` would see the old one."""
    with mounted(device, tmp_path):
        extended = evsd.ctl("extend", "data", "--size", "2G")
        assert (extended.status, f"{device} keeps its size" in extended.err) == (0, True)
        (tmp_path / "still").write_text("writable")
    subprocess.run(["losetup", "-c", device], check=True)
    assert _bytes(device) == 2**30
    evsd.ok("detach", "data")
    again = evsd.ok("attach", "data", "--transport", "fuse")
    assert _bytes(again) == 2 * 2**30
    subprocess.run(["e2fsck", "-f", "-p", again], check=True, capture_output=True)
    subprocess.run(["resize2fs", again], check=True, capture_output=True)
    with mounted(again, tmp_path):
        assert (tmp_path / "still").read_text() == "writable"
        assert os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize > 1.8 * 2**30


def _bytes(device: str) -> int:
    size = subprocess.run(["blockdev", "--getsize64", device], capture_output=True, check=True)
    return int(size.stdout)


def test_a_mounted_volume_is_not_detached(evsd: Evsd, device: str, tmp_path: Path) -> None:
    with mounted(device, tmp_path):
        refused = evsd.ctl("detach", "data")
        assert refused.status == 1
        assert str(tmp_path) in refused.err
        (tmp_path / "still").write_text("writable")
    assert evsd.object("show", "data")["volume"]["status"] == "in-use"


@pytest.mark.usefixtures("device")
def test_a_read_only_attachment_gives_a_read_only_device(evsd: Evsd) -> None:
    evsd.ok("detach", "data")
    again = evsd.ok("attach", "data", "--transport", "fuse", "--read-only")
    read_only = subprocess.run(["blockdev", "--getro", again], capture_output=True, check=True)
    assert read_only.stdout.strip() == b"1"


def test_no_plaintext_reaches_the_pool(evsd: Evsd, device: str, tmp_path: Path) -> None:
    marker = b"a phrase that must not be found on disk"
    with mounted(device, tmp_path):
        (tmp_path / "secret").write_bytes(marker * 1000)
    evsd.ok("detach", "data")
    searched = subprocess.run(["grep", "-c", marker, evsd.pool_file("data")], check=False)
    assert searched.returncode == 1


def test_a_detach_that_can_not_write_back_is_refused_and_forced_says_what_is_lost(
    evsd: Evsd, device: str
) -> None:
    [server] = evsd.server_pids()
    os.kill(server, signal.SIGKILL)  # nbdfuse ends with it
    with Path(device).open("wb", buffering=0) as raw, contextlib.suppress(OSError):
        raw.write(b"x" * 4096)
    refused = evsd.ctl("detach", "data")
    assert (refused.status, "could not be flushed" in refused.err) == (1, True), refused
    assert "--force" in refused.err
    assert evsd.attachment("data")["device"] == device
    assert evsd.object("show", "data")["volume"]["status"] == "in-use"
    done = evsd.ctl("detach", "data", "--force")
    assert (done.status, "what was written after the last sync is lost" in done.err) == (0, True)
    assert evsd.object("show", "data")["volume"]["status"] == "available"


def condition(evsd: Evsd) -> str | None:
    """What show says of the device of `data`."""
    state: str | None = evsd.object("show", "data")["volume"]["metadata"].get("evsd:device")
    return state


def test_show_says_that_a_device_is_dead_whose_nbdfuse_has_ended(evsd: Evsd, device: str) -> None:
    assert condition(evsd) == "connected"
    [server] = evsd.server_pids()
    os.kill(server, signal.SIGKILL)
    with Path(device).open("wb", buffering=0) as raw, contextlib.suppress(OSError):
        raw.write(b"x" * 4096)
        os.fsync(raw.fileno())
    until(lambda: condition(evsd) == "dead")
    shown = evsd.ok("show", "data")
    assert f"{device} (dead)" in shown
    assert re.search("^next .*evsctl detach data --force", shown, re.M), shown
    evsd.ok("detach", "data", "--force")


def test_show_says_that_a_device_is_gone_that_somebody_else_took_away(
    evsd: Evsd, device: str
) -> None:
    subprocess.run(["losetup", "--detach", device], check=True)
    until(lambda: condition(evsd) == "gone")
    assert re.search("^next .*evsctl detach data, then", evsd.ok("show", "data"), re.M)
    evsd.ok("detach", "data")


def test_another_hosts_device_is_not_detached_from_here(evsd: Evsd) -> None:
    evsd.ok("create", "data", "--size", "1G", "--key", evsd.prepare())
    with evsd.http() as http:
        path = f"/v3/{evsd.project_id()}/attachments"
        connector = {"host": "elsewhere", "mountpoint": "/dev/nbd7"}
        volume_id = evsd.object("show", "data")["volume"]["id"]
        wanted = {"volume_uuid": volume_id, "connector": connector}
        assert http.post(path, json={"attachment": wanted}).status_code == 200
    refused = evsd.ctl("detach", "data")
    assert (refused.status, "host elsewhere has it as /dev/nbd7" in refused.err) == (2, True)
    assert condition(evsd) is None
    evsd.ok("detach", "data", "--force")
