"""Programs that are killed at a certain moment."""

from __future__ import annotations

import subprocess


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
