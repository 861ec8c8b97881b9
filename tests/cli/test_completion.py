"""Names are completed by a real shell, which asks a real evsd."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.daemon import VENV_BIN, Evsd

DOCS = Path(__file__).parent.parent.parent / "docs" / "completion"
# What bash does before it calls the function; `compopt` works in a real completion only.
CALL = """
compopt() { echo "file names"; }
source "$1"
COMP_LINE=$2 COMP_POINT=${#2}
_evsctl_completion evsctl
printf '%s\\n' "${COMPREPLY[@]}"
"""


def completed(evsd: Evsd, line: str, **environment: str) -> list[str]:
    """What bash offers for the last word of a line, as it would put it in."""
    done = subprocess.run(
        ["bash", "-c", CALL, "-", DOCS / "evsctl.bash", line],
        env=with_evsctl(evsd) | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return sorted(filter(None, done.stdout.splitlines()))


def with_evsctl(evsd: Evsd) -> dict[str, str]:
    return {
        "PATH": f"{VENV_BIN}:{os.environ['PATH']}",
        "EVSD_ENDPOINT": f"unix://{evsd.socket}",
        "LC_ALL": "C.UTF-8",
    }


@pytest.fixture(scope="module")
def things(shared_evsd: Evsd) -> Evsd:
    """The module's evsd with a few things that have names."""
    for alias in ("team:a/one", "team:a/two"):
        shared_evsd.ok("key", "create", alias)
    for volume in ("my disk", "$(touch owned)", "data*", "数据"):
        shared_evsd.ok("create", volume, "--size", "1G")
    shared_evsd.ok("user", "create", "alice")
    shared_evsd.ok("group", "create", "engineers")
    shared_evsd.ok("project", "create", "staging")
    return shared_evsd


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("evsctl attach my", [r"my\ disk"]),
        (r"evsctl show my\ d", [r"my\ disk"]),
        ("evsctl delete data", [r"data\*"]),
        ("evsctl detach 数", ["数据"]),
        ("evsctl key show te", ["team:a/one", "team:a/two", "test-key"]),
        ("evsctl key show team:a", ["a/one", "a/two"]),
        ("evsctl key disable alias/tes", ["alias/test-key"]),
        ("evsctl create x --key tes", ["test-key"]),
        ("evsctl create x --key=tes", ["test-key"]),
        ("evsctl create x --key=team:a/o", ["a/one"]),
        ("evsctl user show al", ["alice"]),
        ("evsctl access-key create --user al", ["alice"]),
        ("evsctl group add eng", ["engineers"]),
        ("evsctl group add engineers al", ["alice"]),
        ("evsctl group grant engineers read", ["read-only"]),
        ("evsctl --project st", ["staging"]),
        ("evsctl --project staging attach ", []),
        ("evsctl project update st", ["staging"]),
        ("evsctl export data", [r"data\*"]),
        ("evsctl export x ", ["file names"]),
        ("evsctl ver", ["version"]),
    ],
)
def test_bash_completes(things: Evsd, line: str, offered: list[str]) -> None:
    assert completed(things, line) == offered


def test_no_name_of_a_volume_is_run_by_the_shell(things: Evsd) -> None:
    assert r"\$\(touch\ owned\)" in completed(things, "evsctl attach ")


def test_an_id_is_completed_where_no_name_begins_so(things: Evsd) -> None:
    volume_id = things.object("show", "my disk")["volume"]["id"]
    assert completed(things, f"evsctl show {volume_id[:9]}") == [volume_id]


@pytest.mark.parametrize("endpoint", ["unix:///nonexistent", "http://127.0.0.1:1", "nonsense", ""])
def test_nothing_is_said_where_evsd_cannot_be_asked(things: Evsd, endpoint: str) -> None:
    assert completed(things, "evsctl show ", EVSD_ENDPOINT=endpoint) == []


def test_a_person_at_a_terminal_completes_a_name_and_runs_the_command(things: Evsd) -> None:
    typed = f"source {DOCS / 'evsctl.bash'}\nevsctl show my\t\nexit\n"
    assert "name          my disk" in at_a_terminal(things, typed)


def at_a_terminal(evsd: Evsd, typed: str) -> str:
    """What an interactive bash shows."""
    process, terminal = pty.fork()
    if process == 0:
        environment = {**with_evsctl(evsd), "TERM": "dumb", "PS1": "$ "}
        os.execve("/bin/bash", ["bash", "--norc", "--noprofile", "-i"], environment)  # noqa: S606
    os.write(terminal, typed.encode())
    shown, deadline = b"", time.monotonic() + 90
    try:
        while time.monotonic() < deadline and select.select([terminal], [], [], 90)[0]:
            shown += os.read(terminal, 65536)
    except OSError:  # bash has ended
        pass
    os.close(terminal)
    os.waitpid(process, 0)
    return shown.decode(errors="replace")
