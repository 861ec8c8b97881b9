"""evsctl attach --transport fuse: a loop device, a real filesystem, real files."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.daemon import Evsd

SOURCE = Path(__file__).parent.parent.parent / "evsd"


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
    backing = Path(f"/sys/block/{Path(device).name}/loop/backing_file")
    assert backing.exists()
    evsd.ok("detach", "data")
    assert not backing.exists()
    assert str(evsd.state) not in Path("/proc/self/mountinfo").read_text()
    assert evsd.server_pids() == []


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


def test_a_detach_that_can_not_write_back_says_so(evsd: Evsd, device: str) -> None:
    [server] = evsd.server_pids()
    os.kill(server, signal.SIGKILL)  # nbdfuse ends with it
    with Path(device).open("wb", buffering=0) as raw, contextlib.suppress(OSError):
        raw.write(b"x" * 4096)
    done = evsd.ctl("detach", "data")
    assert (done.status, "may be lost" in done.err) == (1, True), done
    assert evsd.object("show", "data")["volume"]["status"] == "available"


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
    evsd.ok("detach", "data", "--force")
