"""evsd's side of the key process: starts it, talks to it, starts it again when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import queue
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from evsd.audit.log import SEGMENT_BYTES
from evsd.errors import KeysUnavailable, PublishedError
from evsd.key_channel.call import Call
from evsd.key_channel.operation import Answer, Ask, Request
from evsd.key_channel.shared import Probe
from evsd.key_client.loop_channel import LoopChannel
from evsd.key_client.messages import First, Reply, answer_in, encode_request
from evsd.key_client.module_output import ModuleOutput
from evsd.processes import Progress
from evsd.resource import Resource

# A process that does nothing for so long hangs; one that works is believed for longer, for Python
# and a token need a minute to start on a slow and busy machine.
START_TIMEOUT_S = 60
PATIENCE_S = 150
# A token operation takes milliseconds, at a slow HSM tenths of a second; to open the token takes
# longer, and much longer where it is made, on a machine that is busy with other things.
CALL_TIMEOUT_S = 15
FIRST_ANSWER_S = 30
# How long evsd's own start waits for the keys, or for the reason why they can't be used.
KNOWN_WITHIN_S = 40
STOP_TIMEOUT_S = 10
LAST_WORDS_TIMEOUT_S = 1
PROBE_INTERVAL_S = 2
# Calls wait as long for a process that is started again.
START_WAIT_S = 30
# Between the deaths of a process that doesn't live long, and its next start.
PAUSES_S = (0, 1, 2, 5, 10)
LONG_LIFE_S = 60

LOG_FD = 2  # evsd's log, which evsd-keys writes to as well, but no module

PROBE = Call("evsd", "", "", "evsd", "probe")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class HsmAccess:
    """A token that is not the embedded one: by label or slot, its PIN in a file or behind an fd."""

    module: Path
    token_label: str | None
    slot: int | None
    pin_file: Path | None
    pin_fd: int | None
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class KeyProcessPaths:
    """What the key process is, and is told at its start."""

    program: str  # the module
    database_url: str
    token_dir: Path
    audit_log: Path
    release_socket: Path
    hsm: HsmAccess | None = None
    audit_segment: int = SEGMENT_BYTES


class KeyProcess(Resource):
    """A running `evsd-keys` and the channel to it; safe to call from any thread.

    Requests are numbered, and carried out in order of arrival; a reader thread hands out answers.
    One thread starts the process, asks it now and then whether it is well, and starts it again
    when it died or hangs: a crash in a vendor's PKCS#11 module costs the requests under way.
    """

    def __init__(self, paths: KeyProcessPaths) -> None:
        self._paths = paths
        self._prepare: Callable[[Ask], None] = lambda _: None
        self._may_begin = threading.Event()
        self._changed = threading.Condition()
        self._life: _Running | None = None
        self._running: _Running | None = None  # the same, once it has answered
        self._trouble = ""  # why none is running, once it is known
        self._last_end = ""  # why the last life ended
        self._token_trouble = ""  # why the token can't be used, though the process runs
        self._closed = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, name="keys", daemon=True)

    def load(self) -> None:
        """Have the process started and its program loaded: it touches nothing before `start`."""
        self._supervisor.start()

    def start(self, prepare: Callable[[Ask], None] = lambda _: None) -> None:
        """Have it begin, now that there is a database; whoever needs it waits.

        `prepare` asks each new process for what must be done before anybody else may ask.
        """
        self._prepare = prepare
        self._may_begin.set()
        if self._supervisor.ident is None:
            self.load()

    def await_known(self) -> str:
        """Wait until keys can be used, or it is known why they can't, which is returned then.

        One death is no reason, the next start may do; and a token that hangs is not waited for.
        """
        progress = Progress(PATIENCE_S)
        with self._changed:
            while not self._changed.wait_for(
                lambda: self._running or self._trouble, KNOWN_WITHIN_S
            ):
                if self._life is None or not progress.made_by(self._life.pid):
                    break
            return self.trouble

    @property
    def trouble(self) -> str:
        """Why keys can't be used now, as far as it is known; empty while they can."""
        if self._running is not None:
            return self._token_trouble
        return self._trouble or self._last_end or "evsd-keys is still being started"

    @property
    def audit_log(self) -> Path:
        """The log that every use of a key is recorded in."""
        return self._paths.audit_log

    @property
    def release_socket(self) -> Path:
        """Where the servers of volumes ask for their keys."""
        return self._paths.release_socket

    def close(self) -> None:
        """End the process; it has no state of its own to lose. Once is enough."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._may_begin.set()
        with self._changed:
            life = self._life
            self._changed.notify_all()
        if life is not None:
            life.stop()
        if self._supervisor.ident is not None:
            self._supervisor.join()

    def call(self, call: Call, request: Request[Answer]) -> Answer:
        """Carry out one operation; raises the published error it was refused with."""
        return self._current().ask(call, request)

    async def ask(self, call: Call, request: Request[Answer], first: First | None = None) -> Answer:
        """`call` for coroutines: no thread waits for the answer."""
        running = self._running
        if running is None:
            running = await asyncio.to_thread(self._current)
        try:
            return await running.channel.ask(call, request, first, CALL_TIMEOUT_S)
        except TimeoutError as error:
            raise running.kill(CALL_TIMEOUT_S) from error

    def _current(self) -> _Running:
        with self._changed:
            self._changed.wait_for(
                lambda: self._running or self._trouble or self._closed.is_set(), START_WAIT_S
            )
            if self._closed.is_set():
                raise KeysUnavailable(reason="evsd is stopping")
            if self._running is None:
                raise KeysUnavailable(reason=self._trouble or "evsd-keys is being started")
            return self._running

    def _supervise(self) -> None:
        deaths = 0
        while not self._closed.is_set():
            began = time.monotonic()
            trouble = self._one_life()
            if self._closed.is_set():
                return
            log.error("key process ended", reason=trouble)
            self._last_end = trouble
            deaths = 0 if time.monotonic() > began + LONG_LIFE_S else deaths + 1
            pause = PAUSES_S[min(deaths, len(PAUSES_S)) - 1] if deaths else 0
            self._announce(None, trouble if pause else "")
            self._closed.wait(pause)

    def _one_life(self) -> str:
        """Start the process and watch it until it ends; returns why it did."""
        try:
            self._life = running = _Running(self._paths)
            self._may_begin.wait()
            running.begin()
            running.await_ready()
        except (KeysUnavailable, OSError, ValueError) as error:
            return str(error)
        if self._closed.is_set():  # `close` may have seen only the life before this one
            return f"evsd is stopping (status {running.stop()})"
        try:
            # The first answer comes when the token was opened, or is known to be away.
            self._token_trouble = running.first_answer()
            self._prepare(running.ask)
            self._announce(running, "")
            while not running.ended.wait(PROBE_INTERVAL_S):
                self._probe(running)
            reason = "evsd-keys died"
        except PublishedError as error:
            reason = error.message
        self._announce(None, "")
        return f"{reason} (status {running.stop()})"

    def _probe(self, running: _Running) -> None:
        self._token_trouble = running.ask(PROBE, Probe())

    def _announce(self, running: _Running | None, trouble: str) -> None:
        with self._changed:
            self._running, self._trouble = running, trouble
            self._changed.notify_all()


class _Running:
    """One life of the key process."""

    def __init__(self, paths: KeyProcessPaths) -> None:
        self.ended = threading.Event()
        ours, theirs = socket.socketpair()
        of_loop, other_end = socket.socketpair()
        pin_fds = [paths.hsm.pin_fd] if paths.hsm and paths.hsm.pin_fd is not None else []
        self._output = ModuleOutput(str(paths.hsm.module) if paths.hsm else "of the embedded token")
        with (
            theirs,
            other_end,
            os.fdopen(os.dup(LOG_FD), "wb") as its_log,
            contextlib.ExitStack() as undo,
        ):
            undo.callback(ours.close)
            undo.callback(of_loop.close)
            undo.callback(self._output.discard)
            fds = (theirs.fileno(), other_end.fileno(), its_log.fileno())
            self._process = subprocess.Popen(  # noqa: S603
                _command(paths, *fds),
                env=_environment(paths.hsm.environment if paths.hsm else {}),
                pass_fds=[*fds, *pin_fds],
                stdin=subprocess.DEVNULL,
                stdout=self._output.writing,
                stderr=self._output.writing,
            )
            undo.pop_all()
        self._output.start()
        self.channel = LoopChannel(of_loop)
        self._socket = ours
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._lines = ours.makefile("rb")
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Future[Reply]] = {}
        self._lock = threading.Lock()
        self.pid = self._process.pid
        self._progress = Progress(PATIENCE_S)

    def begin(self) -> None:
        """Tell it to: it has waited since it was loaded; that it has died `await_ready` tells."""
        with contextlib.suppress(OSError):
            self._socket.sendall(b"\n")

    def await_ready(self) -> None:
        """Wait for its first word; raises `KeysUnavailable`, and then it has ended."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        while not (spoken := poll.poll(START_TIMEOUT_S * 1000)):
            if not self._progress.made_by(self.pid):
                break
        line = self._lines.readline() if spoken else b""
        answer = json.loads(line) if line else {"ready": False, "reason": "it died or hangs"}
        if not answer["ready"]:
            status = self.stop()
            raise KeysUnavailable(
                reason=f"evsd-keys did not start (status {status}): {answer['reason']}"
            )
        for work in (self._read, self._write):
            threading.Thread(target=work, name=f"keys-{work.__name__}", daemon=True).start()

    def first_answer(self) -> str:
        """The trouble with the token, once that was opened or is known to be away."""
        request = Probe()
        future = self.send(PROBE, request)
        while True:
            try:
                return answer_in(future.result(FIRST_ANSWER_S), request)
            except TimeoutError as error:
                if not self._progress.made_by(self.pid):
                    raise self.kill(FIRST_ANSWER_S) from error

    def ask(self, call: Call, request: Request[Answer]) -> Answer:
        """Send a request and wait for its answer; a process that doesn't answer is ended."""
        future = self.send(call, request)
        try:
            reply = future.result(CALL_TIMEOUT_S)
        except TimeoutError as error:
            raise self.kill(CALL_TIMEOUT_S) from error
        return answer_in(reply, request)

    def kill(self, waited_s: float) -> KeysUnavailable:
        """End a process that gives no answer: it would hold up every later call too."""
        self._process.kill()
        return KeysUnavailable(reason=f"no answer within {waited_s:g} s")

    def send(self, call: Call, request: Request[Any]) -> Future[Reply]:
        """Send a request; the future fails with `KeysUnavailable` if the process dies first."""
        future: Future[Reply] = Future()
        future.set_running_or_notify_cancel()  # or a caller that hangs up could cancel it
        with self._lock:
            if self.ended.is_set():
                raise KeysUnavailable(reason="evsd-keys has died")
            number = next(self._numbers)
            self._waiting[number] = future
            self._outbox.put(encode_request(number, call, request))
        return future

    def _write(self) -> None:
        """Send in a thread of its own: who asks must not wait for a process that hangs."""
        with contextlib.suppress(OSError):  # it has died, which the reader notices
            while (line := self._outbox.get()) is not None:
                self._socket.sendall(line)

    def _read(self) -> None:
        # A process that is killed ends the stream with ECONNRESET, or in the middle of a line.
        with contextlib.suppress(OSError, ValueError):
            for line in self._lines:
                reply: Reply = json.loads(line)
                with self._lock:
                    future = self._waiting.pop(reply["id"])
                future.set_result(reply)
        with self._lock:
            self.ended.set()
            orphans, self._waiting = list(self._waiting.values()), {}
        self._outbox.put(None)
        for future in orphans:
            future.set_exception(KeysUnavailable(reason="evsd-keys died during the request"))

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
            self._output.wait(LAST_WORDS_TIMEOUT_S)
            self._socket.close()
            self.channel.close()


def _command(paths: KeyProcessPaths, control_fd: int, loop_fd: int, log_fd: int) -> list[str]:
    options: dict[str, object] = {
        "--control-fd": control_fd,
        "--loop-fd": loop_fd,
        "--log-fd": log_fd,
        "--database": paths.database_url,
        "--token-dir": paths.token_dir,
        "--audit-log": paths.audit_log,
        "--audit-segment": paths.audit_segment,
        "--release-socket": paths.release_socket,
    }
    if (hsm := paths.hsm) is not None:
        options |= {
            "--module": hsm.module,
            "--token-label": hsm.token_label,
            "--token-slot": hsm.slot,
            "--pin-file": hsm.pin_file or f"/dev/fd/{hsm.pin_fd}",
        }
    words = [f"{name}={value}" for name, value in options.items() if value is not None]
    # -P: nothing is loaded from the directory in which evsd happens to be started.
    return [sys.executable, "-P", "-m", paths.program, *words]


def _environment(of_module: Mapping[str, str]) -> dict[str, str]:
    # Python and glibc keep what is freed: a dropped data key was found 3 to 5 times in the
    # process afterwards. With these glibc overwrites it; perturb alone does nothing, since
    # pymalloc and the tcache would pass it by.
    return {
        **of_module,
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "PYTHONMALLOC": "malloc",
        "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0:glibc.malloc.perturb=165",
        **{name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ},
    }
