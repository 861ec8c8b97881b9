"""What evsctl itself makes sure of when it copies."""

from __future__ import annotations

import errno
import subprocess
import tempfile
from pathlib import Path

import pytest

from evsd.images.nbd import flush
from tests.support.daemon import until
from tests.support.sockets import listens


@pytest.mark.parametrize("fails", [True, False])
def test_a_copy_that_the_disk_does_not_take_is_noticed(fails: bool) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        socket = Path(directory) / "s"
        answer = "echo EIO bad disk >&2; exit 1" if fails else "exit 0"
        server = subprocess.Popen(
            [
                *("nbdkit", "--foreground", f"--unix={socket}", "eval"),
                *("get_size=echo 1048576", "can_write=exit 0", "can_flush=exit 0"),
                *("pread=exit 0", "pwrite=cat >/dev/null", f"flush={answer}"),
            ],
            stderr=subprocess.DEVNULL,
        )
        try:
            until(lambda: listens(socket))
            if not fails:
                flush(f"nbd+unix:///?socket={socket}")
                return
            with pytest.raises(OSError, match="Input/output error") as refused:
                flush(f"nbd+unix:///?socket={socket}")
            assert refused.value.errno == errno.EIO
        finally:
            server.terminate()
            server.wait()
