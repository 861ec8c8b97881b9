"""What a guest promises to the scripts that run in it, and what runs in it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.support.guest import CHECKOUT, Guest, GuestTimeout


def test_the_promised_surroundings(guest: Guest) -> None:
    before = int(time.time())
    result = guest.run(
        f"""
        set -e
        [ "$PWD" = {CHECKOUT} ] && [ "$(command -v python)" = {CHECKOUT}/.venv/bin/python ]
        python -c 'import evsd.connector'
        for place in /tmp /run /root /dev/shm "$SHARE"; do date +%s >$place/now; done
        [ -c /dev/fuse ] && [ -c /dev/loop-control ] && [ -e /proc/self ] && [ -e /sys/block ]
        head -c 16 /dev/random | wc -c
        python -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); s.close()'
        modprobe -a nbd dm_crypt
        echo it is here
        exit 7
        """
    )
    assert result.output.endswith("it is here\n"), result.output
    assert result.status == 7
    assert before - 60 < int((guest.share / "now").read_text()) < time.time() + 60


def test_power_loss_keeps_what_was_flushed(guest: Guest, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.touch()
    os.truncate(disk, 16 << 20)
    lost = guest.run(
        "printf kept | dd of=/dev/vda conv=fsync,notrunc,nocreat && echo ok;"
        # Another descriptor, or the last close would write it back.
        "exec 9<>/dev/vda; printf gone | dd of=/dev/vda bs=1M seek=8 conv=notrunc,nocreat;"
        "power_off_now",
        disks=[disk],
    )
    assert (lost.status, lost.output.count("ok")) == (None, 1), lost.console
    content = disk.read_bytes()
    assert content[:4] == b"kept"
    assert content[8 << 20 :][:4] == bytes(4)


def test_time_out_ends_the_guest(guest: Guest) -> None:
    with pytest.raises(GuestTimeout):
        guest.run("sleep 1000", timeout=2)


def test_kernel_transport(guest: Guest) -> None:
    # Without plugins, whose imports take longer in here than the tests; their options go too.
    result = guest.run(
        "export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1\n"
        "python -m pytest -c /dev/null --rootdir . -v tests/guest/kernel_transport.py",
    )
    assert result.status == 0, result.output
