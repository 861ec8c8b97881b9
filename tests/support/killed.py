"""Programs that are killed at a certain moment."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager


def kill_at(moment: str, command: list[str]) -> None:
    """Run a command that is killed at a system call: ``fsync:2`` is when it begins its second."""
    call, number = moment.split(":")
    inject = f"inject={call}:signal=KILL:when={number}"
    killed = subprocess.run(
        ["strace", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject, *command],
        capture_output=True,
        check=False,
    )
    assert killed.returncode != 0


@contextmanager
def killing(pid: int, moment: str) -> Iterator[None]:
    """Have a process that runs killed at a system call from now on, see `kill_at`."""
    call, number = moment.split(":")
    inject = f"inject={call}:signal=KILL:when={number}"
    command = ["strace", "-f", "-p", str(pid), "-o", "/dev/null", "-e", f"trace={call}"]
    with subprocess.Popen([*command, "-e", inject], stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        while "attached" not in tracer.stderr.readline():  # all its threads are, with the first
            assert tracer.poll() is None
        yield
        tracer.wait(60)
