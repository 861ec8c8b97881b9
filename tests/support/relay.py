"""Between evsctl and evsd: something happens at the moment of a certain request."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen

from tests.support.daemon import Evsd, Result


def interrupted(evsd: Evsd, number: signal.Signals, request: bytes, *words: str) -> int:
    """The exit status of an evsctl that gets a signal just before such a request reaches evsd."""
    return interrupt(evsd, number, request, *words).status


def interrupt(evsd: Evsd, number: signal.Signals, request: bytes, *words: str) -> Result:
    """The whole outcome of one; the signal goes to its process group, as from a terminal."""
    started = Future[Popen[str]]()

    def happens() -> None:
        os.killpg(started.result().pid, number)

    with relay(evsd.socket, request, happens) as socket:
        evsctl = evsd.spawn_ctl(*words, socket=socket)
        started.set_result(evsctl)
        out, err = evsctl.communicate(timeout=120)
    return Result(evsctl.returncode, out, err)


@contextmanager
def relay(target: Path, request: bytes, happens: Callable[[], object]) -> Iterator[Path]:
    """A socket that leads to `target`; `happens` is called before the first `request` passes."""
    path = target.with_suffix(".relay")
    waiting = [happens]
    threads: list[threading.Thread] = []

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if data.startswith(request) and waiting:
                    waiting.pop()()
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def begin(function: Callable[..., None], *arguments: object) -> None:
        threads.append(threading.Thread(target=function, args=arguments, daemon=True))
        threads[-1].start()

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(target))
                begin(pump, client, server)
                begin(pump, server, client)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        begin(serve)
        yield path
        listener.shutdown(socket.SHUT_RDWR)
    path.unlink()
    for thread in threads:
        thread.join(10)
