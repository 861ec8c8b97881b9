"""evsd in a guest with a Debian kernel: /dev/nbdN, stock nbd-client, and a machine on a volume."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.daemon import Evsd, running_evsd
from tests.support.guest import Guest, boot_from_nbd, write_root

# A minute each on an idle machine; the emulated guest starts a Python for every evsctl.
TIMEOUT_S = 400
pytestmark = pytest.mark.timeout(TIMEOUT_S + 60)

START = """
set -e
export EVSD_ENDPOINT=unix:///tmp/evsd/evsd.sock
adduser --quiet --system --group --no-create-home --home /nonexistent evsd 2>/dev/null || true
evsd --state-dir /tmp/evsd > /tmp/evsd.log 2>&1 &
for _ in $(seq 600); do evsctl key list > /dev/null 2>&1 && break; sleep 0.1; done
evsctl key create guest-key
evsctl delegation create
evsctl create data --size 1G --key guest-key
mkdir /tmp/mnt
"""


def test_the_kernel_transport_keeps_files_over_detach_and_attach(guest: Guest) -> None:
    result = guest.run(
        START
        + """
        device=$(evsctl attach data --transport kernel)
        echo "device $device"
        mkfs.ext4 -q "$device"
        mount "$device" /tmp/mnt
        cp -r evsd nbd_plugin docs /tmp/mnt
        ! evsctl detach data 2> /tmp/busy
        cat /tmp/busy
        umount /tmp/mnt
        evsctl detach data
        [ "$(blockdev --getsize64 "$device" 2>/dev/null || echo 0)" = 0 ]
        device=$(evsctl attach data --transport kernel)
        e2fsck -f -n "$device"
        mount -o ro "$device" /tmp/mnt
        for part in evsd nbd_plugin docs; do diff -r $part /tmp/mnt/$part; done
        umount /tmp/mnt
        evsctl detach data
        echo all the same
        """,
        timeout=TIMEOUT_S,
    )
    assert result.status == 0, result.output
    assert re.search(r"^device /dev/nbd\d+$", result.output, re.M), result.output
    assert "mounted" in result.output
    assert result.output.endswith("all the same\n")


def test_stock_nbd_client_attaches_the_same_export(guest: Guest) -> None:
    result = guest.run(
        START
        + """
        evsctl attach data --transport uri
        socket=$(echo /tmp/evsd/nbd/*.sock)
        modprobe nbd
        nbd-client -unix "$socket" /dev/nbd0
        mkfs.ext4 -q /dev/nbd0
        mount /dev/nbd0 /tmp/mnt
        echo written by nbd-client > /tmp/mnt/file
        umount /tmp/mnt
        nbd-client -d /dev/nbd0
        evsctl detach data
        device=$(evsctl attach data --transport kernel)
        mount "$device" /tmp/mnt
        cat /tmp/mnt/file
        umount /tmp/mnt
        evsctl detach data
        """,
        timeout=TIMEOUT_S,
    )
    assert result.status == 0, result.output
    assert "written by nbd-client" in result.output


def test_the_kernels_device_goes_on_when_the_server_is_killed(guest: Guest) -> None:
    result = guest.run(
        START
        + """
        device=$(evsctl attach data --transport kernel)
        mkfs.ext4 -q "$device"
        mount "$device" /tmp/mnt
        (for n in $(seq 60); do
            dd if=/dev/urandom of=/tmp/mnt/$n bs=64k count=4 conv=fsync 2> /dev/null || exit 1
        done) &
        writer=$!
        sleep 1
        kill -9 $(pgrep -x nbdkit)
        wait $writer
        cd /tmp/mnt && sha256sum [0-9]* > /tmp/before && cd -
        umount /tmp/mnt
        evsctl detach data
        device=$(evsctl attach data --transport kernel)
        e2fsck -f -n "$device"
        mount -o ro "$device" /tmp/mnt
        cd /tmp/mnt && sha256sum --quiet -c /tmp/before && cd -
        wc -l < /tmp/before
        umount /tmp/mnt
        evsctl detach data
        """,
        timeout=TIMEOUT_S,
    )
    assert result.status == 0, result.output
    assert "\n60\n" in result.output


def test_a_guest_boots_with_a_volume_as_its_disk_and_writes_to_it(
    guest_kernel: None,  # noqa: ARG001 - it must be there
) -> None:
    with running_evsd() as evsd:
        evsd.ok("create", "root", "--size", "1G", "--key", evsd.prepare())
        write_root(attach(evsd))
        script = "grep ' / ' /proc/mounts; echo hello > /greeting"
        first = boot_from_nbd(socket_of(evsd), script)
        assert (first.status, "/dev/vda" in first.output) == (0, True), first.console
        evsd.ok("detach", "root")
        second = boot_from_nbd(attach(evsd), "cat /greeting")
        assert (second.status, second.output) == (0, "hello\n"), second.console


def attach(evsd: Evsd) -> Path:
    evsd.ok("attach", "root", "--transport", "uri")
    return socket_of(evsd)


def socket_of(evsd: Evsd) -> Path:
    [socket] = (evsd.state / "nbd").glob("*.sock")
    return socket
