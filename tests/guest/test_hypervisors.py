"""A virtual machine that runs from a volume, as `evsctl attach --transport qemu` gives it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import Evsd, running_evsd, until
from tests.support.guest import Result, RunningGuest, running_from_disk, write_root

# Its root disk is written to all the time; a second disk is used as soon as it is there.
SCRIPT = """
cd /run/control
count=0
until [ -b /dev/vdb ]; do
    count=$((count + 1))
    echo $count >> /counted
    sync
    echo $count > count
done
head -c 1048576 /dev/urandom > /tmp/bytes
dd if=/tmp/bytes of=/dev/vdb bs=64k conv=fsync
sha256sum < /tmp/bytes
cat /sys/block/vdb/serial
echo yes > written
while [ -b /dev/vdb ]; do sleep 1; done
grep ' / ' /proc/mounts
wc -l < /counted
"""


@pytest.fixture(scope="module")
def evsd() -> Iterator[Evsd]:
    with running_evsd() as evsd:
        key = evsd.prepare()
        evsd.ok("create", "root", "--size", "1G", "--key", key)
        evsd.ok("create", "second", "--size", "1G", "--key", key)
        yield evsd


def options(evsd: Evsd, volume: str) -> list[str]:
    """What evsctl says qemu should be told."""
    return shlex.split(evsd.ok("attach", volume, "--transport", "qemu"))


def copy(uri: str, image: Path) -> None:
    """All that an export holds, as a sparse file."""
    subprocess.run(["nbdcopy", uri, image], check=True)


@pytest.fixture(scope="module")
def ended(guest_kernel: None, evsd: Evsd) -> Result:  # noqa: ARG001
    """A guest whose server was killed, and which had a disk plugged in and out."""
    uri = evsd.ok("attach", "root", "--transport", "uri")
    write_root(Path(uri.partition("socket=")[2]))
    evsd.ok("detach", "root")
    with running_from_disk(options(evsd, "root"), SCRIPT) as guest:
        until(lambda: int(guest.word("count") or 0) > 3, 600)
        [server] = evsd.server_pids()
        os.kill(server, signal.SIGKILL)
        until(lambda: evsd.server_pids() not in ([], [server]))
        before = int(guest.word("count"))
        until(lambda: int(guest.word("count") or 0) > before + 3, 600)
        plug_in_and_out(guest, options(evsd, "second"))
        return guest.result()


def plug_in_and_out(guest: RunningGuest, words: list[str]) -> None:
    """Give it a disk until it has written to it."""
    _, blockdev, _, device = words
    node = json.loads(blockdev)
    driver, *properties = device.split(",")
    monitor = guest.monitor()
    monitor("blockdev-add", **node)
    plugged = dict(entry.split("=") for entry in properties)
    monitor("device_add", driver=driver, id="second", bus="free", **plugged)
    until(lambda: guest.word("written"), 600)
    monitor("device_del", id="second")
    monitor.await_event("DEVICE_DELETED")
    monitor("blockdev-del", **{"node-name": node["node-name"]})
    monitor.close()


def test_a_guest_on_a_volume_goes_on_when_the_volumes_server_is_killed(ended: Result) -> None:
    assert ended.status == 0, ended.console
    assert not re.search("I/O error|EXT4-fs error", ended.console), ended.console


def test_what_a_guest_wrote_to_its_root_is_there_when_the_volume_is_attached_again(
    ended: Result, evsd: Evsd, tmp_path: Path
) -> None:
    assert "/dev/vda / ext4" in ended.output
    counted = int(ended.output.split()[-1])
    evsd.ok("detach", "root")
    copy(evsd.ok("attach", "root", "--transport", "uri"), tmp_path / "root")
    seen = subprocess.check_output(["debugfs", "-R", "cat /counted", tmp_path / "root"], text=True)
    assert [int(line) for line in seen.split()] == list(range(1, counted + 1))


def test_a_volume_is_plugged_into_a_running_guest_and_out_of_it(
    ended: Result, evsd: Evsd, tmp_path: Path
) -> None:
    [written] = re.findall("^([0-9a-f]{64}) ", ended.output, re.M)
    assert evsd.object("show", "second")["volume"]["id"][:20] in ended.output
    evsd.ok("detach", "second")  # nobody has it any more
    copy(evsd.ok("attach", "second", "--transport", "uri"), tmp_path / "second")
    with (tmp_path / "second").open("rb") as file:
        assert hashlib.sha256(file.read(2**20)).hexdigest() == written
