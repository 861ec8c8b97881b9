"""A real evsd in a state directory of its own, and evsctl to talk to it."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.support.nbd import exported_token

VENV_BIN = Path(sys.executable).parent
START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 30
Object = dict[str, Any]


class Evsd:
    """One evsd process; `start`, `kill` and `stop` may be called in turn."""

    def __init__(self, state: Path, *options: str) -> None:
        self.state, self.options = state, options
        self.log = state.with_suffix(".log")  # not in the state directory, which must be fresh
        self.socket = state / "evsd.sock"
        self._process: subprocess.Popen[bytes] | None = None

    evsctl = VENV_BIN / "evsctl"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def keys_pid(self) -> int:
        """The process id of its evsd-keys."""
        threads = Path(f"/proc/{self.pid}/task").iterdir()
        children = [pid for thread in threads for pid in (thread / "children").read_text().split()]
        names = {int(p): Path(f"/proc/{p}/comm").read_text().strip() for p in children}
        return next(pid for pid, name in names.items() if name == "evsd-keys")

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [VENV_BIN / "evsd", "--state-dir", self.state, *self.options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.await_socket()

    def await_socket(self) -> None:
        """Wait until it accepts."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._accepts():
            assert self._process is None or self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def _accepts(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

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
        done = subprocess.run(
            [self.evsctl, *words],
            env={
                "PATH": os.environ["PATH"],
                "EVSD_ENDPOINT": f"unix://{self.socket}",
                **(environment or {}),
            },
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def spawn_ctl(self, *words: str) -> subprocess.Popen[str]:
        """Start evsctl and don't wait for it."""
        return subprocess.Popen(
            [self.evsctl, *words],
            env={"PATH": os.environ["PATH"], "EVSD_ENDPOINT": f"unix://{self.socket}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ok(self, *words: str) -> str:
        """Run evsctl, which must succeed; returns what it printed."""
        done = self.ctl(*words)
        assert done.status == 0, (words, done)
        return done.out.strip()

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
        events = [json.loads(line) for line in self.log.read_text().splitlines()]
        return str([event["http"] for event in events if event["event"] == "evsd ready"][-1])

    def project_id(self) -> str:
        with self.http() as http:
            return str(http.get("/v3/projects").json()["projects"][0]["id"])

    # --- what it does behind the API -----------------------------------------------------------

    def pool_file(self, volume: str) -> Path:
        return self.state / "pool" / f"{self.object('show', volume)['volume']['id']}.luks"

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
        return [
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and _is_server(entry, self.state)
        ]


class Result:
    """What a run of evsctl gave."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    def __repr__(self) -> str:
        return f"Result({self.status}, {self.out!r}, {self.err!r})"


@contextmanager
def running_evsd(*options: str) -> Iterator[Evsd]:
    """A fresh evsd; ended and removed with all its servers at the end."""
    # Not pytest's tmp_path: its parents are closed to the user evsd becomes, and too long.
    with temporary_state() as state:
        evsd = Evsd(state, *options)
        evsd.start()
        try:
            yield evsd
        finally:
            if evsd.running:
                evsd.stop()
            for pid in evsd.server_pids():
                os.kill(pid, signal.SIGKILL)


@contextmanager
def temporary_state() -> Iterator[Path]:
    """A directory that can be a state directory."""
    state = Path(tempfile.mkdtemp(prefix="evsd-test-", dir="/tmp"))
    try:
        yield state
    finally:
        shutil.rmtree(state)
        state.with_suffix(".log").unlink(missing_ok=True)


def _is_server(entry: Path, state: Path) -> bool:
    try:
        command = (entry / "cmdline").read_bytes()
    except OSError:
        return False
    return command.startswith(b"/usr/bin/nbdkit") and f"{state}/".encode() in command


def until(condition: Any, timeout: float = 20.0) -> None:
    """Wait for a condition; fails if it doesn't come true in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.02)
