"""What `evsctl attach` tells qemu and libvirt, as they understand it; tests/guest has a guest."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.daemon import Evsd, running_evsd, until
from tests.support.namespaces import own_mounts
from tests.support.qmp import Monitor

DOMAIN = """
<domain type='qemu'>
  <name>guest</name>
  <memory>65536</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>{disk}</devices>
</domain>
"""

# libvirt without its daemon; it wants its own user to be there.
NATIVE = """
mount -t tmpfs none /run
for name in passwd group; do
    cp /etc/$name $1/$name
    echo 'libvirt-qemu:x:64055:64055::/:/bin/false' >> $1/$name
    mount --bind $1/$name /etc/$name
done
# What its user may not open, libvirt asks qemu about again and again, 4 s each time.
[ ! -e /dev/kvm ] || { cp -a /dev/kvm $1/kvm; chmod 666 $1/kvm; mount --bind $1/kvm /dev/kvm; }
virsh -c "qemu:///embed?root=$1/root" domxml-to-native qemu-argv --xml $1/domain.xml
"""


@pytest.fixture(scope="module")
def evsd() -> Iterator[Evsd]:
    with running_evsd() as evsd:
        evsd.ok("create", "data", "--size", "1G", "--key", evsd.prepare())
        yield evsd


@pytest.fixture(scope="module")
def libvirt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where it keeps what it once asked qemu."""
    return tmp_path_factory.mktemp("libvirt")


@pytest.fixture
def data(evsd: Evsd) -> Iterator[str]:
    """A volume that is detached afterwards."""
    yield "data"
    evsd.ok("detach", "data")


def socket_of(evsd: Evsd) -> str:
    [socket] = (evsd.state / "nbd").glob("*/sock")
    return str(socket)


def serial(evsd: Evsd) -> str:
    return str(evsd.object("show", "data")["volume"]["id"])[:20]


def qemu_of(disk: str, directory: Path) -> list[str]:
    """What libvirt tells qemu of a disk."""
    (directory / "domain.xml").write_text(DOMAIN.format(disk=disk))
    done = subprocess.run(
        [*own_mounts(), "bash", "-ec", NATIVE, "bash", directory],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return shlex.split(done.stdout)


def objects(words: list[str], option: str, **having: str) -> list[dict[str, object]]:
    """An option's values, those that have these."""
    given = (json.loads(word) for before, word in pairwise(words) if before == option)
    return [each for each in given if having.items() <= each.items()]


@pytest.mark.parametrize("read_only", [False, True])
def test_qemu_opens_what_it_is_told(evsd: Evsd, data: str, read_only: bool) -> None:
    extra = ("--read-only",) if read_only else ()
    words = shlex.split(evsd.ok("attach", data, "--transport", "qemu", *extra))
    assert words[::2] == ["-blockdev", "-device"]
    assert f"serial={serial(evsd)}" in words[3]
    blockdev = json.loads(words[1])
    assert (blockdev["read-only"], blockdev["reconnect-delay"] > 60) == (read_only, True)
    seen = subprocess.check_output(["qemu-img", "info", f"json:{words[1]}"], text=True)
    assert re.search("^virtual size: 1 GiB", seen, re.M)


def test_a_running_qemu_sees_that_its_volume_has_grown(evsd: Evsd, tmp_path: Path) -> None:
    evsd.ok("create", "grows", "--size", "1G", "--key", "test-key")
    disk = shlex.split(evsd.ok("attach", "grows", "--transport", "qemu"))
    node = json.loads(disk[1])["node-name"]
    socket = tmp_path / "qmp"
    machine = ("-accel", "tcg", "-machine", "q35", "-nodefaults", "-display", "none", "-S")
    with subprocess.Popen(
        ["qemu-system-x86_64", *machine, "-qmp", f"unix:{socket},server=on,wait=off", *disk]
    ) as qemu:
        until(socket.exists)
        monitor = Monitor(socket)
        assert "block_resize" in evsd.ctl("extend", "grows", "--size", "2G").err
        request = f'qemu-io {node} "read 0 512"'  # the guest is none that makes any
        monitor("human-monitor-command", **{"command-line": request})
        monitor("block_resize", **{"node-name": node, "size": 2 << 30})
        nodes = {each["node-name"]: each for each in monitor("query-named-block-nodes")}
        assert nodes[node]["image"]["virtual-size"] == 2 << 30
        monitor.close()
        qemu.kill()
    evsd.ok("detach", "grows")


@pytest.mark.parametrize("read_only", [False, True])
def test_libvirt_understands_its_disk(
    evsd: Evsd, data: str, libvirt: Path, read_only: bool
) -> None:
    extra = ("--read-only",) if read_only else ()
    words = qemu_of(evsd.ok("attach", data, "--transport", "libvirt", *extra), libvirt)
    [node] = objects(words, "-blockdev", driver="nbd")
    assert node["server"] == {"type": "unix", "path": socket_of(evsd)}
    [form] = objects(words, "-blockdev", driver="raw")
    assert (form["discard"], form["read-only"]) == ("unmap", read_only)
    [device] = objects(words, "-device", driver="virtio-blk-pci", serial=serial(evsd))
    assert (device["werror"], device["rerror"]) == ("stop", "stop")


def test_a_script_gets_the_apis_answer_for_a_hypervisor_too(evsd: Evsd, data: str) -> None:
    answer = evsd.object("attach", data, "--transport", "qemu")
    assert answer["attachment"]["connector"]["mountpoint"] == ""
    assert answer["attachment"]["connection_info"]["data"]["socket"] == socket_of(evsd)
