"""evsctl, loaded once and forked for each command: loading is most of what a command costs.

Everything after it is as always: each command is a process of its own, with the directory,
environment and standard streams of its caller. Tests of evsctl itself start the real one.

A caller makes a directory that describes its call and writes the directory's name into a FIFO.
So it works for shell scripts too: in an emulated guest Python loads evsctl for three seconds.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib
import os
import pkgutil
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import evsd.cli
from evsd.cli.__main__ import run

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


# --- who calls -----------------------------------------------------------------------------------


def call(words: Sequence[str], environment: dict[str, str], timeout: float) -> tuple[int, str, str]:
    """Run evsctl; returns its exit status, and what it said on standard output and error."""
    with (
        tempfile.TemporaryDirectory() as directory,
        Path(os.devnull).open() as nothing,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
    ):
        described = Path(directory)
        os.mkfifo(described / "status")
        _write_strings(described / "arguments", words)
        _write_strings(described / "environment", map("=".join, environment.items()))
        (described / "directory").write_text(str(Path.cwd()))
        numbers = (os.getpid(), nothing.fileno(), out.fileno(), err.fileno())
        (described / "streams").write_text(" ".join(map(str, numbers)))
        # Also for writing: so it can be opened, and waited for, before the other side is there.
        with os.fdopen(os.open(described / "status", os.O_RDWR)) as status:
            os.write(_server(), f"{directory}\n".encode())
            if not select.select([status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(["evsctl", *words], timeout)
            exit_status = int(status.readline())
        return exit_status, _text(out.fileno()), _text(err.fileno())


@cache
def _server() -> int:
    """The descriptor that takes calls; the process behind it ends with this one."""
    directory = tempfile.TemporaryDirectory(prefix="evsctl-")
    calls = Path(directory.name) / "calls"
    os.mkfifo(calls)
    server = subprocess.Popen([sys.executable, "-m", "tests.support.preloaded_evsctl", calls])
    descriptor = os.open(calls, os.O_WRONLY)

    def end() -> None:
        os.close(descriptor)
        server.wait()
        directory.cleanup()

    atexit.register(end)
    return descriptor


def _write_strings(file: Path, strings: Iterable[str]) -> None:
    file.write_bytes(b"".join(os.fsencode(string) + b"\0" for string in strings))


def _text(descriptor: int) -> str:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode()


# --- who carries out -----------------------------------------------------------------------------


def serve(calls: Path) -> None:
    """Carry out what is written into the FIFO, until nobody has it open for writing."""
    for module in pkgutil.walk_packages(evsd.cli.__path__, f"{evsd.cli.__name__}."):
        importlib.import_module(module.name)
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
        _carry_out(described)
    _, status = os.waitpid(child, 0)
    (described / "status").write_text(f"{os.waitstatus_to_exitcode(status)}\n")
    os._exit(0)


def _carry_out(described: Path) -> None:
    caller, *streams = map(int, (described / "streams").read_text().split())
    _take_streams(caller, streams)
    os.chdir((described / "directory").read_text().rstrip("\n"))
    os.environ.clear()
    for variable in _strings(described / "environment"):
        name, _, os.environ[name] = variable.partition("=")
    sys.argv[1:] = _strings(described / "arguments")
    run()


def _take_streams(caller: int, numbers: list[int]) -> None:
    """The caller's own descriptors: opened anew by their names, files would be written from 0."""
    libc = ctypes.CDLL(None, use_errno=True)
    process = os.pidfd_open(caller)
    for standard, number in enumerate(numbers):
        stream = libc.pidfd_getfd(process, number, 0)
        if stream < 0:
            raise OSError(ctypes.get_errno(), f"descriptor {number} of process {caller}")
        os.dup2(stream, standard)
        os.close(stream)
    os.close(process)


def _strings(file: Path) -> list[str]:
    return [os.fsdecode(each) for each in file.read_bytes().split(b"\0")[:-1]]


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
