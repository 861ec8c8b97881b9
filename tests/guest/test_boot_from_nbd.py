"""A virtual machine whose root disk is an NBD export, as any hypervisor's would be."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.guest import boot_from_nbd, write_root
from tests.support.nbdkit import await_start


@pytest.fixture
def export(tmp_path: Path) -> Iterator[Path]:
    """The socket of nbdkit serving a file."""
    image, socket_path = tmp_path / "image", tmp_path / "nbd.sock"
    image.touch()
    os.truncate(image, 64 << 20)
    argv = ("nbdkit", "--foreground", "-U", str(socket_path), "file", str(image))
    with subprocess.Popen(argv) as server:
        await_start(server, socket_path)
        yield socket_path
        server.terminate()


def test_root_on_nbd_keeps_what_is_written(guest_kernel: None, export: Path) -> None:  # noqa: ARG001
    write_root(export)
    first = boot_from_nbd(export, "grep ' / ' /proc/mounts; echo hello >/greeting; exit 3")
    assert first.status == 3, first.console
    assert "/dev/vda" in first.output

    second = boot_from_nbd(export, "cat /greeting")
    assert (second.status, second.output) == (0, "hello\n"), second.console
