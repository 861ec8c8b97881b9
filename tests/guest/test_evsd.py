"""evsd in a guest with a Debian kernel: /dev/nbdN and the stock nbd-client."""

from __future__ import annotations

import re

import pytest

from tests.support.guest import Guest
from tests.support.preloaded_evsctl import SHELL_FUNCTION

START = """
set -e
export EVSD_ENDPOINT=unix:///tmp/evsd/evsd.sock
adduser --quiet --system --group --no-create-home --home /nonexistent evsd 2>/dev/null || true
python -m tests.support.preloaded_evsd --state-dir /tmp/evsd > /tmp/evsd.log 2>&1 &
until grep -q "evsd ready" /tmp/evsd.log; do
    kill -0 $! || { cat /tmp/evsd.log; exit 1; }
    sleep 1  # each look takes the processor from what it waits for
done
evsctl key create guest-key
evsctl delegation create
"""

# Each by itself, with a volume $volume and an empty directory $mnt of its own.
RUN_SCRIPTS = """
set +e
for script in "$SHARE"/*.sh; do
    export volume=$(basename "$script" .sh)
    export mnt=/tmp/$volume
    mkdir $mnt
    evsctl create $volume --size 1G --key guest-key
    bash -e "$script" > "$SHARE/$volume.out" 2>&1
    echo "status $?" >> "$SHARE/$volume.out"
done
"""

SCRIPTS = {
    "keeps-files": """
        device=$(evsctl attach $volume --transport kernel)
        echo "device $device"
        mkfs.ext4 -q "$device"
        mount "$device" $mnt
        mkdir /tmp/files  # of the guest's own: tests on the host write into these folders
        # Without what Python has compiled, half of all bytes: an emulated machine copies slowly.
        tar -c --exclude=__pycache__ evsd nbd_plugin docs | tar -x -C /tmp/files
        cp -r /tmp/files $mnt
        ! evsctl detach $volume 2> /tmp/busy
        cat /tmp/busy
        umount $mnt
        evsctl detach $volume
        [ "$(blockdev --getsize64 "$device" 2>/dev/null || echo 0)" = 0 ]
        device=$(evsctl attach $volume --transport kernel)
        e2fsck -f -n "$device"
        mount -o ro "$device" $mnt
        diff -r /tmp/files $mnt/files
        umount $mnt
        evsctl detach $volume
        echo all the same
        """,
    "nbd-client": """
        uri=$(evsctl attach $volume --transport uri)
        modprobe nbd
        nbd-client -unix "${uri#*socket=}" /dev/nbd0
        mkfs.ext4 -q /dev/nbd0
        mount /dev/nbd0 $mnt
        echo written by nbd-client > $mnt/file
        umount $mnt
        nbd-client -d /dev/nbd0
        evsctl detach $volume
        device=$(evsctl attach $volume --transport kernel)
        mount "$device" $mnt
        cat $mnt/file
        umount $mnt
        evsctl detach $volume
        """,
    "killed-server": """
        device=$(evsctl attach $volume --transport kernel)
        mkfs.ext4 -q "$device"
        mount "$device" $mnt
        (for n in $(seq 30); do
            dd if=/dev/urandom of=$mnt/$n bs=64k count=4 conv=fsync 2> /dev/null || exit 1
            [ $n != 20 ] || until [ -e /tmp/killed ]; do sleep 0.5; done
        done) &
        writer=$!
        until [ -e $mnt/5 ]; do kill -0 $writer; sleep 0.2; done
        kill -9 $(pgrep -x nbdkit)
        touch /tmp/killed
        wait $writer
        cd $mnt && sha256sum [0-9]* > /tmp/before && cd -
        umount $mnt
        evsctl detach $volume
        device=$(evsctl attach $volume --transport kernel)
        e2fsck -f -n "$device"
        mount -o ro "$device" $mnt
        cd $mnt && sha256sum --quiet -c /tmp/before && cd -
        wc -l < /tmp/before
        umount $mnt
        evsctl detach $volume
        """,
    "another-client": """
        device=$(evsctl attach $volume --transport kernel)
        uri=$(evsctl show $volume | sed -n "s/^uri *//p")
        evsctl show $volume
        ! qemu-io -f raw -c "write 0 4k" "$uri"
        qemu-io -r -f raw -c "read 0 4k" "$uri"
        kill -9 $(pgrep -x nbdkit)
        dd if=/dev/zero of=$device bs=4k count=1 oflag=direct
        ! qemu-io -f raw -c "write 0 4k" "$uri"
        evsctl detach $volume
        """,
    "extended": """
        device=$(evsctl attach $volume --transport kernel)
        mkfs.ext4 -q "$device"
        mount "$device" $mnt
        (for n in $(seq 40); do
            dd if=/dev/urandom of=$mnt/$n bs=64k count=4 conv=fsync 2> /dev/null || exit 1
            [ $n != 20 ] || until [ -e /tmp/extended ]; do sleep 0.1; done
        done) &
        writer=$!
        until [ -e $mnt/10 ]; do kill -0 $writer; sleep 0.01; done
        evsctl extend $volume --size 2G
        echo "device has $(blockdev --getsize64 "$device")"
        touch /tmp/extended
        wait $writer
        resize2fs "$device"
        fallocate -l 1100M $mnt/large  # more than there was, and little that is written
        dd if=/dev/urandom of=$mnt/large bs=1M count=1 seek=1099 conv=notrunc,fsync
        cd $mnt && sha256sum [0-9]* > /tmp/extended-before && cd -
        umount $mnt
        evsctl detach $volume
        device=$(evsctl attach $volume --transport kernel)
        e2fsck -f -n "$device"
        mount -o ro "$device" $mnt
        cd $mnt && sha256sum --quiet -c /tmp/extended-before && cd -
        wc -l < /tmp/extended-before
        [ $(stat -c %s $mnt/large) = $((1100 << 20)) ]
        umount $mnt
        evsctl detach $volume
        """,
    "killed-watcher": """
        evsctl attach $volume --transport kernel
        evsctl show $volume
        kill -KILL $(pgrep -f evsd.connector.revive)
        evsctl show $volume
        evsctl detach $volume
        """,
}


@pytest.fixture(scope="module")
def said(guest_kernel: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:  # noqa: ARG001 - it must be there
    """What each script said, run in one guest: to boot it and start evsd takes the longest."""
    guest = Guest(tmp_path_factory.mktemp("share"))
    for name, script in SCRIPTS.items():
        (guest.share / f"{name}.sh").write_text(script)
    result = guest.run(SHELL_FUNCTION + START + RUN_SCRIPTS)
    assert result.status == 0, result.output
    return {name: (guest.share / f"{name}.out").read_text() for name in SCRIPTS}


def test_the_kernel_transport_keeps_files_over_detach_and_attach(said: dict[str, str]) -> None:
    output = said["keeps-files"]
    assert output.endswith("all the same\nstatus 0\n"), output
    assert re.search(r"^device /dev/nbd\d+$", output, re.M), output
    assert "mounted" in output


def test_stock_nbd_client_attaches_the_same_export(said: dict[str, str]) -> None:
    output = said["nbd-client"]
    assert output.endswith("status 0\n"), output
    assert "written by nbd-client" in output


def test_the_kernels_device_goes_on_when_the_server_is_killed(said: dict[str, str]) -> None:
    output = said["killed-server"]
    assert output.endswith("status 0\n"), output
    assert "\n30\n" in output


def test_only_the_kernels_device_writes_also_after_its_server_was_killed(
    said: dict[str, str],
) -> None:
    output = said["another-client"]
    assert output.endswith("status 0\n"), output
    assert re.search("^connected +this host's device, .*writing$", output, re.M), output
    assert output.count("Permission denied") == 2, output
    assert "read 4096/4096" in output


def test_the_kernels_device_grows_while_it_is_written_to(said: dict[str, str]) -> None:
    output = said["extended"]
    assert output.rstrip().endswith("status 0"), output
    assert f"device has {2 * 2**30}" in output
    assert "keeps its size" not in output
    assert re.search(r"^40$", output, re.M), output


def test_show_says_that_a_device_has_no_watcher_any_more(said: dict[str, str]) -> None:
    output = said["killed-watcher"]
    assert output.endswith("status 0\n"), output
    connected, unwatched = re.findall(r"^device +(/dev/.+)$", output, re.M)
    assert re.fullmatch(r"/dev/nbd\d+ \(connected\)", connected)
    assert re.fullmatch(r"/dev/nbd\d+ \(unwatched\)", unwatched)
