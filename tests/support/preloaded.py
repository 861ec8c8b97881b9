"""Programs that are loaded once and forked for each start: loading is most of what a start costs.

Everything after it is as always: what is started is a process of its own and the child of who
starts it, with the arguments, environment, directory and descriptors that `Popen` was given, and
it runs the program's own entry. Only what happens before that is not its own: Python's options,
allocator and random seed are those of who has loaded it, and so is /proc/PID/environ. Tests of how
a program starts, or of such things, start the real one.
"""

from __future__ import annotations

import atexit
import ctypes
import fcntl
import gc
import os
import pickle
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

Entry = Callable[[], object]
"""Runs a program, by its `sys.argv`, until it raises SystemExit or returns."""

_PR_SET_CHILD_SUBREAPER = 36
_MOST_BYTES, _MOST_DESCRIPTORS = 200_000, 32
_UNUSED = 500  # descriptors from here on are nobody's
_ROOM = 4000  # for the command line of what is forked, in that of who forks

_one_by_one = threading.Lock()


@dataclass(frozen=True)
class Start:
    """What to start; `numbers` are those under which it finds its descriptors."""

    arguments: list[str]
    environment: dict[str, str]
    directory: str
    numbers: list[int]


# --- who starts ----------------------------------------------------------------------------------


class Preloaded:
    """A process that has loaded a program, and forks it for whoever has this."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    @classmethod
    def load(cls, module: str, environment: Mapping[str, str]) -> Preloaded:
        """Start it, to end with this process: `module` is run, to load and `serve`."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", module, str(theirs.fileno()), " " * _ROOM],
                pass_fds=[theirs.fileno()],
                env=environment,
            )

        def end() -> None:
            ours.close()
            process.wait()

        atexit.register(end)
        return cls(ours)

    @classmethod
    def fork(cls, entry: Entry) -> Preloaded:
        """Of this process as it is now, with one thread; what it has open is closed there."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if os.fork() == 0:
            _keep_open([theirs.fileno()])
            serve(theirs, entry)
        theirs.close()
        return cls(ours)

    def popen(self, arguments: Sequence[str | Path], **options: Any) -> subprocess.Popen[Any]:
        """`subprocess.Popen`, of that program."""
        return _Popen(self, arguments, **options)

    def start(self, start: Start, descriptors: list[int]) -> int:
        """Fork a child of this process; returns its pid."""
        with _one_by_one, _adopting():
            socket.send_fds(self._channel, [pickle.dumps(start)], descriptors)
            pid = int(self._channel.recv(100))
        # Popen takes the end of a process that isn't its child for a success.
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return pid


class _Popen(subprocess.Popen[Any]):
    """Waits for, and ends, what was forked for it."""

    def __init__(
        self, preloaded: Preloaded, arguments: Sequence[str | Path], **options: Any
    ) -> None:
        self._preloaded = preloaded
        super().__init__(arguments, **options)

    def _execute_child(self, args: Sequence[str | Path], *others: Any) -> None:
        _, _, _, pass_fds, directory, environment, _, _, _, *pipes = others
        stdin, _, _, stdout, _, stderr = pipes[:6]
        given = dict(zip((*range(3), *pass_fds), (stdin, stdout, stderr, *pass_fds), strict=True))
        start = Start(
            [os.fspath(word) for word in args],
            dict(os.environ if environment is None else environment),
            os.fspath(directory or Path.cwd()),
            list(given),
        )
        self.pid = self._preloaded.start(
            start, [number if fd == -1 else fd for number, fd in given.items()]
        )
        self._child_created = True
        self._close_pipe_fds(*pipes[:6])  # type: ignore[attr-defined]


@contextmanager
def _adopting() -> Iterator[None]:
    """What loses its parent meanwhile becomes a child of this process."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


# --- who has loaded ------------------------------------------------------------------------------


def serve(channel: socket.socket, entry: Entry) -> NoReturn:
    """Fork what is asked for, until nobody can ask any more."""
    gc.freeze()  # or the collector of each child would copy it all
    while True:
        asked, descriptors, _, _ = socket.recv_fds(channel, _MOST_BYTES, _MOST_DESCRIPTORS)
        if not asked:
            os._exit(0)
        reading, writing = os.pipe()
        # The process between leaves its child to who asked.
        if (between := os.fork()) == 0:
            if (child := os.fork()) == 0:
                run(pickle.loads(asked), descriptors, entry)  # noqa: S301 - ours
            os.write(writing, str(child).encode())
            os._exit(0)
        os.waitpid(between, 0)
        channel.send(os.read(reading, 100))
        for descriptor in (reading, writing, *descriptors):
            os.close(descriptor)


def run(start: Start, descriptors: list[int], entry: Entry) -> NoReturn:
    """Be that program, in a process that was forked for it, to the end."""
    status = 1
    try:
        _become(start, descriptors)
        status = _status_of(entry)
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
    except BaseException:  # noqa: BLE001 - nothing returns to what it was forked from
        traceback.print_exc()
    ctypes.PyDLL(None).exit(status)  # so C libraries end as they always do
    raise AssertionError("exit(3) has returned")


def _status_of(entry: Entry) -> int:
    try:
        entry()
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
            return 1
        return error.code or 0
    return 0


def _become(start: Start, descriptors: list[int]) -> None:
    moved = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, _UNUSED) for descriptor in descriptors]
    for descriptor, number in zip(moved, start.numbers, strict=True):
        os.dup2(descriptor, number)
    _keep_open(start.numbers)
    os.chdir(start.directory)
    os.environ.clear()
    os.environ.update(start.environment)
    sys.argv = list(start.arguments)
    _show(start.arguments)


def _keep_open(descriptors: list[int]) -> None:
    """These and the standard ones; all others are somebody else's."""
    for number in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
        if number > 2 and number not in descriptors:
            with suppress(OSError):  # that of the list itself
                os.close(number)


def _show(arguments: list[str]) -> None:
    """As the command line of this process, which is at arg_start to arg_end, see proc(5)."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])
    shown = b"".join(os.fsencode(word) + b"\0" for word in arguments)[: end - start - 1]
    ctypes.memset(start, 0, end - start)
    ctypes.memmove(start, shown, len(shown))
