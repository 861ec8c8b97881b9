"""evsd's side of the key process: starts it, talks to it, starts it again when it dies."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from evsd.errors import KmsUnavailable, from_wire
from evsd.kms.call import Call
from evsd.resource import Resource

START_TIMEOUT_S = 30
CALL_TIMEOUT_S = 30
STOP_TIMEOUT_S = 10

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class KeyProcessPaths:
    """What the key process is told at its start."""

    database_url: str
    token_dir: Path
    audit_log: Path
    release_socket: Path


class KeyProcess(Resource):
    """A running `evsd-keys` and the channel to it; safe to call from any thread.

    Requests are numbered and answered in order of arrival; a reader thread hands the answers out.
    A process that died, or hangs, is started again at once: a crash in a vendor's PKCS#11 module
    costs the requests that were under way.
    """

    def __init__(self, paths: KeyProcessPaths) -> None:
        self._paths = paths
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self._closed = threading.Event()

    def start(self) -> None:
        """Start it now, not at the first call; raises `KmsUnavailable`."""
        self._current()

    @property
    def release_socket(self) -> Path:
        """Where the servers of volumes ask for their keys."""
        return self._paths.release_socket

    def close(self) -> None:
        """End the process; it has no state of its own to lose."""
        self._closed.set()
        with self._lock:
            if self._running is not None:
                self._running.stop()

    def call(self, operation: str, call: Call, **params: Any) -> dict[str, Any]:
        """Carry out one operation; raises the published error it was refused with."""
        running = self._current()
        future = running.send(operation, call, params)
        try:
            answer = future.result(CALL_TIMEOUT_S)
        except TimeoutError as error:
            running.kill()  # a token that hangs would hold up every later call too
            raise KmsUnavailable(reason=f"no answer within {CALL_TIMEOUT_S} s") from error
        if "error" in answer:
            raise from_wire(answer["error"])
        result: dict[str, Any] = answer["result"]
        return result

    def _current(self) -> _Running:
        with self._lock:
            if self._closed.is_set():
                raise KmsUnavailable(reason="evsd is stopping")
            if self._running is None or not self._running.alive:
                if self._running is not None:
                    log.error("key process died", status=self._running.stop())
                self._running = _Running(self._paths, self._died)
            return self._running

    def _died(self) -> None:
        """Start it again without waiting for a call: servers of volumes need it too."""
        for pause in itertools.chain((0, 1, 2, 5), itertools.repeat(10)):
            if self._closed.wait(pause):
                return
            try:
                self._current()
            except KmsUnavailable as error:
                log.error("key process can't be started", reason=error.message)
            else:
                return


class _Running:
    """One life of the key process."""

    def __init__(self, paths: KeyProcessPaths, on_death: Callable[[], None]) -> None:
        self._on_death = on_death
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603
                _command(paths, theirs.fileno()),
                env=_environment(),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self._socket = ours
        self._lines = ours.makefile("rb")
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Future[dict[str, Any]]] = {}
        self._lock = threading.Lock()
        self.alive = True
        self._await_ready()
        threading.Thread(target=self._read, name="keys-reader", daemon=True).start()

    def _await_ready(self) -> None:
        self._socket.settimeout(START_TIMEOUT_S)
        try:
            ready = self._lines.readline()
        except TimeoutError:
            ready = b""
        self._socket.settimeout(None)
        if not ready:
            self.alive = False
            raise KmsUnavailable(reason=f"evsd-keys did not start (status {self.stop()})")

    def send(
        self, operation: str, call: Call, params: dict[str, Any]
    ) -> Future[dict[str, Any]]:  # fmt: skip
        """Send a request; the future fails with `KmsUnavailable` if the process dies first."""
        future: Future[dict[str, Any]] = Future()
        with self._lock:
            number = next(self._numbers)
            self._waiting[number] = future
            request = {
                "id": number,
                "operation": operation,
                "call": call.as_wire(),
                "params": params,
            }
            try:
                self._socket.sendall(json.dumps(request).encode() + b"\n")
            except OSError as error:
                self._waiting.pop(number, None)
                raise KmsUnavailable(reason="evsd-keys has died") from error
        return future

    def _read(self) -> None:
        for line in self._lines:
            answer = json.loads(line)
            with self._lock:
                future = self._waiting.pop(answer["id"])
            future.set_result(answer)
        with self._lock:
            self.alive = False
            orphans, self._waiting = list(self._waiting.values()), {}
        for future in orphans:
            future.set_exception(KmsUnavailable(reason="evsd-keys died during the request"))
        self._on_death()

    def kill(self) -> None:
        """End a process that doesn't answer; its death is then noticed like any other."""
        self._process.kill()

    def stop(self) -> int:
        """Close the channel, which ends the process; returns its exit status."""
        with contextlib.suppress(OSError):  # closed already, or the other end is
            self._socket.shutdown(socket.SHUT_WR)
        try:
            return self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
        finally:
            self._socket.close()


def _command(paths: KeyProcessPaths, control_fd: int) -> list[str]:
    options = {
        "--control-fd": control_fd,
        "--database": paths.database_url,
        "--token-dir": paths.token_dir,
        "--audit-log": paths.audit_log,
        "--release-socket": paths.release_socket,
    }
    words = [str(word) for pair in options.items() for word in pair]
    return [sys.executable, "-m", "evsd.kms.process", *words]


def _environment() -> dict[str, str]:
    # Python and glibc keep what is freed: a dropped data key was found 3 to 5 times in the
    # process afterwards. With these glibc overwrites it; perturb alone does nothing, since
    # pymalloc and the tcache would pass it by.
    return {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "PYTHONMALLOC": "malloc",
        "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0:glibc.malloc.perturb=165",
        **{name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ},
    }
