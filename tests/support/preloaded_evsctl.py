"""evsctl, loaded once and forked for each command, see `preloaded`.

It is for shell scripts too, as in an emulated guest, where Python loads evsctl for three seconds: a
caller makes a directory that describes its call, and writes the directory's name into a FIFO.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import pkgutil
import signal
import socket
import sys
from pathlib import Path

import evsd.cli
from evsd.cli.__main__ import run as run_evsctl
from tests.support.preloaded import Start, run, serve

_IN_GUEST = "/run/evsctl"

# In a shell's function redirections are of the shell itself, so its descriptors are evsctl's.
SHELL_FUNCTION = f"""
mkfifo {_IN_GUEST}
exec 9<>{_IN_GUEST}
python -m tests.support.preloaded_evsctl {_IN_GUEST} 9<&- &
evsctl() {{
    local call status
    call=$(mktemp -d)
    mkfifo "$call/status"
    printf '%s\\0' "$@" > "$call/arguments"
    env -0 > "$call/environment"
    pwd > "$call/directory"
    echo $BASHPID 0 1 2 > "$call/streams"
    echo "$call" > {_IN_GUEST}
    status=$(cat "$call/status")
    rm -r "$call"
    return "$status"
}}
export -f evsctl
"""


def load() -> None:
    """All that any of its commands loads."""
    for module in pkgutil.walk_packages(evsd.cli.__path__, f"{evsd.cli.__name__}."):
        importlib.import_module(module.name)


# --- for shell scripts ---------------------------------------------------------------------------


def serve_scripts(calls: Path) -> None:
    """Carry out what is written into the FIFO, until nobody has it open for writing."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for who reports
    with calls.open() as lines:
        for line in lines:
            if os.fork() == 0:
                _report(Path(line.rstrip("\n")))


def _report(described: Path) -> None:
    """In a process of its own: one command, and its exit status to who waits for it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child == 0:
        start = Start(
            ["evsctl", *_strings(described / "arguments")],
            dict(variable.split("=", 1) for variable in _strings(described / "environment")),
            (described / "directory").read_text().rstrip("\n"),
            [0, 1, 2],
        )
        run(start, _streams(described), run_evsctl)
    _, status = os.waitpid(child, 0)
    (described / "status").write_text(f"{os.waitstatus_to_exitcode(status)}\n")
    os._exit(0)


def _streams(described: Path) -> list[int]:
    """The caller's own descriptors: opened anew by their names, files would be written from 0."""
    caller, *numbers = map(int, (described / "streams").read_text().split())
    libc = ctypes.CDLL(None, use_errno=True)
    process = os.pidfd_open(caller)
    streams = [libc.pidfd_getfd(process, number, 0) for number in numbers]
    if -1 in streams:
        raise OSError(ctypes.get_errno(), f"descriptors of process {caller}")
    return streams


def _strings(file: Path) -> list[str]:
    return [os.fsdecode(each) for each in file.read_bytes().split(b"\0")[:-1]]


if __name__ == "__main__":
    load()
    if sys.argv[1].isdecimal():
        serve(socket.socket(fileno=int(sys.argv[1])), run_evsctl)
    serve_scripts(Path(sys.argv[1]))
