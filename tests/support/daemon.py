"""A real evsd in a state directory of its own, and evsctl to talk to it."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import httpx

from evsd.processes import Process
from tests.support.nbd import exported_token
from tests.support.preloaded import Preloaded
from tests.support.sockets import listens
from tests.support.traces import children_named, command_lines, read_all

VENV_BIN = Path(sys.executable).parent
_ADDED = [str(Path(__file__).with_name("as_installed")), *filter(None, [os.getenv("PYTHONPATH")])]
AS_INSTALLED = {"PYTHONPATH": os.pathsep.join(_ADDED)}
"""Environment of evsd and evsctl: nothing is loaded that is there for tests alone."""
# Long: a machine that is busy with other things fails no test. What comes in time costs nothing.
START_TIMEOUT_S = 90
STOP_TIMEOUT_S = 90
CTL_TIMEOUT_S = 120
Object = dict[str, Any]


@cache
def _preloaded(program: str) -> Preloaded:
    """The process that has loaded it, of which each of the workers has its own."""
    return Preloaded.load(f"tests.support.preloaded_{program}", {**os.environ, **AS_INSTALLED})


class Evsd:
    """One evsd process; `start`, `kill` and `stop` may be called in turn."""

    def __init__(self, state: Path, *options: str) -> None:
        self.state, self.options = state, options
        self.log = state.with_suffix(".log")  # not in the state directory, which must be fresh
        self.socket = state / "evsd.sock"
        self.pool = state / "pool"
        self._process: subprocess.Popen[bytes] | None = None
        self.told: list[str] = []  # what it told systemd at its last start

    program, evsctl = VENV_BIN / "evsd", VENV_BIN / "evsctl"
    # Whether what is loaded already is forked, or the real one started.
    preloaded, preloaded_ctl = False, True
    before: tuple[str, ...] = ()  # a command that starts it, and becomes it
    directory: Path | None = None  # to start it in

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def keys_pid(self) -> int:
        """The process id of its evsd-keys."""
        return next(iter(children_named(self.pid, "evsd-keys")))

    def built_in(self, programs: Path) -> None:
        """Run the programs of a checkout's environment."""
        self.program, self.evsctl = programs / "evsd", programs / "evsctl"
        # Until evsd-keys was started with -P it was that of the directory evsd was started in.
        self.directory = None if programs == VENV_BIN else programs.parents[1]

    def start(self) -> None:
        """Start it and wait until it says, as to systemd, that it is ready."""
        with self.log.open("ab") as log, _readiness(self.state.with_suffix(".notify")) as ready:
            self._process = self._popen(
                [*self.before, self.program, "--state-dir", self.state, *self.options],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **AS_INSTALLED, "NOTIFY_SOCKET": ready.getsockname()},
            )
            self.told = []
            self._await(lambda: self._hears(ready) == "READY=1")

    @property
    def _popen(self) -> Callable[..., subprocess.Popen[bytes]]:
        forked = self.preloaded and self.program.parent == VENV_BIN and not self.before
        return _preloaded("evsd").popen if forked else subprocess.Popen

    def _hears(self, ready: socket.socket) -> str:
        with suppress(BlockingIOError):
            self.told.append(ready.recv(1000).decode())
            return self.told[-1]
        return ""

    def await_socket(self) -> None:
        """Wait until it listens, which is before it says that it is ready."""
        self._await(lambda: listens(self.socket))

    def _await(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not condition():
            assert self._process is None or self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> int:
        """Send a signal that ends it; returns its exit status."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(STOP_TIMEOUT_S)

    def wait(self) -> None:
        """Wait for its end."""
        assert self._process is not None
        self._process.wait(STOP_TIMEOUT_S)

    def stop(self) -> int:
        return self.signal(signal.SIGTERM)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    # --- evsctl --------------------------------------------------------------------------------

    def ctl(self, *words: str, environment: dict[str, str] | None = None) -> Result:
        """Run evsctl."""
        env = {**self._ctl_environment(self.socket), **(environment or {})}
        popen = _preloaded("evsctl").popen if self.preloaded_ctl else subprocess.Popen
        with popen(
            [self.evsctl, *words],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as evsctl:
            try:
                out, err = evsctl.communicate(timeout=CTL_TIMEOUT_S)
            finally:
                evsctl.kill()
        return Result(evsctl.returncode, out, err)

    @staticmethod
    def _ctl_environment(socket: Path) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "EVSD_ENDPOINT": f"unix://{socket}", **AS_INSTALLED}

    def spawn_ctl(self, *words: str, socket: Path | None = None) -> subprocess.Popen[str]:
        """Start evsctl and don't wait for it; it may reach evsd by way of another socket."""
        return subprocess.Popen(
            [self.evsctl, *words],
            env=self._ctl_environment(socket or self.socket),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=hear_interrupts,
            process_group=0,  # a test may send a signal to all of it
        )

    def ok(self, *words: str) -> str:
        """Run evsctl, which must succeed; returns what it printed."""
        done = self.ctl(*words)
        assert done.status == 0, (words, done, self.exceptions() if "internal" in done.err else "")
        return done.out.strip()

    def exceptions(self) -> list[str]:
        """The traces that evsd and evsd-keys have logged."""
        lines = self.log.read_text(errors="replace").splitlines()
        entries = [json.loads(line) for line in lines if line.startswith("{")]
        return [entry["exception"] for entry in entries if "exception" in entry]

    def object(self, *words: str) -> Object:
        """Run evsctl with JSON output."""
        answer: Object = json.loads(self.ok("--output", "json", *words))
        return answer

    def prepare(self, key: str = "test-key") -> str:
        """A key and the delegation, which nearly every test needs; returns the key's alias."""
        self.ok("key", "create", key)
        self.ok("delegation", "create")
        return key

    # --- the API without evsctl ----------------------------------------------------------------

    def http(self) -> httpx.Client:
        transport = httpx.HTTPTransport(uds=str(self.socket))
        return httpx.Client(transport=transport, base_url="http://evsd", timeout=60)

    def url(self) -> str:
        """Where it listens on TCP."""
        return str([event["http"] for event in self.events("evsd ready")][-1])

    def events(self, name: str) -> list[Object]:
        """What it has logged under this name; it may be in the middle of its last line."""
        lines = self.log.read_text().rpartition("\n")[0].splitlines()
        return [event for event in map(json.loads, lines) if event["event"] == name]

    def project_id(self) -> str:
        with self.http() as http:
            return str(http.get("/v3/projects").json()["projects"][0]["id"])

    # --- what it does behind the API -----------------------------------------------------------

    def pool_file(self, volume: str) -> Path:
        return self.pool / f"{self.object('show', volume)['volume']['id']}.luks"

    def attachment(self, volume: str) -> Object:
        found: Object = self.object("show", volume)["volume"]["attachments"][0]
        return found

    def data_key(self, volume: str) -> bytes:
        """A volume's key, unwrapped from its header through the published API as by its owner."""
        token = exported_token(self.pool_file(volume))
        body = {
            "key_id": token["cmk_id"],
            "cipher_text": base64.b64decode(token["wrapped_dek"]).hex(),
            "datakey_cipher_length": "64",
            "encryption_context": token["encryption_context"],
        }
        with self.http() as http:
            path = f"/v1.0/{self.project_id()}/kms/decrypt-datakey"
            return bytes.fromhex(http.post(path, json=body).json()["data_key"])

    def server_pids(self) -> list[int]:
        """Every nbdkit that serves a volume of this state directory."""
        return self._pids("/usr/bin/nbdkit ")

    def _pids(self, program: str) -> list[int]:
        return [
            pid
            for pid, command in command_lines().items()
            if program in command and f"{self.state}/" in command
        ]

    def clear_up(self) -> None:
        """End it with all its servers, and wait for all that still writes to its directory."""
        if self.running:
            self.stop()
        servers = [Process.of(pid) for pid in self.server_pids()]
        for server in servers:
            if server is not None:
                with suppress(ProcessLookupError):  # it has ended by itself
                    os.kill(server.pid, signal.SIGKILL)
        # While it ends it has no command line any more, but still its volume's file, and by that
        # the pool, which is unmounted next.
        until(lambda: not any(server is not None and server.running for server in servers))
        # The evsd-keys of an evsd that was killed ends a moment later.
        until(lambda: not (self.server_pids() or self._pids(" evsd.daemon.key_process.main ")))

    def restarted_with(self, *statements: str) -> None:
        """Stop it if it runs, change its records, as if time had passed, and start it again."""
        if self.running:
            self.stop()
        with closing(sqlite3.connect(self.state / "evsd.db")) as database, database:
            for statement in statements:
                database.execute(statement)
        self.start()

    @contextmanager
    def servers_halted(self) -> Iterator[None]:
        """What they do now is not done before the block ends, however fast they are."""
        with halted(*self.server_pids()):
            yield


@contextmanager
def halted(*pids: int) -> Iterator[None]:
    """Processes that do nothing before the block ends; one that is halted already stays so.

    One that ends meanwhile does nothing either.
    """
    running = [pid for pid in pids if _state(pid) not in ("T", "")]
    _send(signal.SIGSTOP, running)
    try:
        yield
    finally:
        _send(signal.SIGCONT, running)


def _send(number: signal.Signals, pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _state(pid: int) -> str:
    """As in proc(5); empty where there is no such process."""
    stat = read_all("/proc", f"{pid}/stat")
    return "".join(text.rpartition(")")[2].split()[0] for text in stat.values())


def hear_interrupts() -> None:
    """Also where the tests themselves run in the background, which ignores them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Result:
    """What a run of evsctl gave."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    def __repr__(self) -> str:
        return f"Result({self.status}, {self.out!r}, {self.err!r})"


@contextmanager
def running_evsd(
    *options: str, before: tuple[str, ...] = (), built: Path = VENV_BIN
) -> Iterator[Evsd]:
    """A fresh evsd, run by `before`; ended and removed with all its servers at the end.

    `built` may name the programs of another checkout, to measure beside these.
    """
    # Not pytest's tmp_path: its parents are closed to the user evsd becomes, and too long.
    with temporary_state() as state:
        evsd = Evsd(state, *options)
        evsd.before = before
        evsd.built_in(built)
        evsd.start()
        try:
            yield evsd
        finally:
            evsd.clear_up()


@contextmanager
def _readiness(address: Path) -> Iterator[socket.socket]:
    """What $NOTIFY_SOCKET names: a path, as evsd may have a network of its own, open to all."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
        ready.setblocking(False)
        ready.bind(str(address))
        address.chmod(0o777)
        try:
            yield ready
        finally:
            address.unlink()


@contextmanager
def temporary_state() -> Iterator[Path]:
    """A directory that can be a state directory."""
    state = Path(tempfile.mkdtemp(prefix="evsd-test-", dir="/tmp"))
    try:
        yield state
    finally:
        shutil.rmtree(state)
        state.with_suffix(".log").unlink(missing_ok=True)


def until(condition: Any, timeout: float = 90.0) -> None:
    """Wait for a condition; fails if it doesn't come true in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.02)
