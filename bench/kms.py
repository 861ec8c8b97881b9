"""Compare the KMS with its peer: data keys per second over HTTP, at one and at eight clients.

evsd checks an SDK-HMAC-SHA256 signature, uses a key on a PKCS#11 token and writes an audit record
to disk for every request; moto's KMS server does none of the three, Barbican (`barbican`) encrypts
in software and commits each new secret. What one session on the token alone can do is the limit;
what evsd-keys does for callers inside evsd is what there is without HTTP. Another build of evsd, as
that of the commit before, can be measured beside this one.
The servers take turns within every round; what counts are the medians over the rounds and their
ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import secrets
import select
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvloop

from bench import barbican
from evsd import signature
from evsd.daemon import key_process as key_program
from evsd.key_channel.call import Call
from evsd.key_channel.operation import Request
from evsd.key_client.process import KeyProcess, KeyProcessPaths
from evsd.key_process.token import softhsm
from evsd.key_process.token.token import Token
from evsd.services.iam.tables import Domain, Project
from evsd.services.kms.operations import CreateDatakey, CreateKey, DecryptDatakey
from evsd.store.database import Database
from tests.support.daemon import VENV_BIN, Evsd, running_evsd, until

RESULTS = Path(__file__).parent / "results"
MOTO = Path(__file__).parent.parent / ".cache" / "bench" / "bin" / "moto_server"
CLIENTS = (1, 8)
OPERATIONS = ("create-datakey", "decrypt-datakey")
NAMES = {
    "parent": "evsd before",
    "moto": "moto",
    "barbican": "Barbican",
    "inside": "inside evsd, without HTTP",
    "token": "token alone",
}

CALLER = Call("bench", "domain", "project", "bench", "bench")

Rate = Callable[[str, int, float], float]  # (operation, clients, seconds) -> per second


def main() -> None:
    """Run the comparison, print the table and keep it under bench/results/."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of every run")
    parser.add_argument("--parent", type=Path, help="a checkout with another build of evsd")
    parser.add_argument("--peers", nargs="*", choices=OTHERS, default=list(OTHERS))
    options = parser.parse_args()
    with ExitStack() as stack:
        peers = {"evsd": stack.enter_context(evsd_server())}
        if options.parent is not None:
            built = options.parent / ".venv" / "bin"
            peers["parent"] = stack.enter_context(evsd_server(built))
        for name in options.peers:
            peers[name] = stack.enter_context(OTHERS[name]())
        text = report(measure(peers, options.rounds, options.seconds), options)
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "kms.md").write_text(text)


Results = dict[tuple[str, int], dict[str, float]]


def measure(peers: dict[str, Rate], rounds: int, seconds: float) -> Results:
    """Medians, by operation and number of clients, then by server."""
    found: dict[tuple[str, int], dict[str, list[float]]] = {}
    for _ in range(rounds):
        for operation in OPERATIONS:
            for clients in CLIENTS:
                for name, rate in peers.items():
                    runs = found.setdefault((operation, clients), {}).setdefault(name, [])
                    runs.append(rate(operation, clients, seconds))
    return {
        job: {name: statistics.median(runs) for name, runs in by_name.items()}
        for job, by_name in found.items()
    }


def report(results: Results, options: argparse.Namespace) -> str:
    """The table, in Markdown."""
    names = [name for name in next(iter(results.values())) if name != "evsd"]
    lines = [
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        f"Medians of {options.rounds} rounds of {options.seconds:g} s: requests per second.",
        "In brackets: evsd's divided by that.",
        "",
        f"| operation | clients | evsd | {' | '.join(NAMES[name] for name in names)} |",
        "|---|--:|--:|" + "--:|" * len(names),
    ]
    for (operation, clients), by_name in results.items():
        ours = by_name["evsd"]
        others = [f"{by_name[name]:,.0f} ({ours / by_name[name]:.2f})" for name in names]
        lines.append(f"| {operation} | {clients} | {ours:,.0f} | {' | '.join(others)} |")
    return "\n".join(lines) + "\n"


# --- the load ----------------------------------------------------------------------------------


class Connection:
    """One client's connection: a request, its answer, and again."""

    def __init__(self, address: tuple[str, int], request: bytes) -> None:
        self._address, self._request = address, request
        self._connect()

    def _connect(self) -> None:
        self.socket = socket.create_connection(self._address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self.socket.sendall(self._request)

    def answered(self) -> bool:
        """Take what has arrived; True when that completes an answer, and the next is asked for."""
        data = self.socket.recv(65536)
        self._received += data
        head, _, body = self._received.partition(b"\r\n\r\n")
        lowered = head.lower()
        length = int(lowered.partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
        if data and (not body or len(body) < length):
            return False
        if head.split(b" ", 2)[1] not in (b"200", b"201"):
            raise RuntimeError(self._received.decode())
        if not data or b"connection: close" in lowered or head.startswith(b"HTTP/1.0"):
            self.socket.close()
            self._connect()
        else:
            self._received = b""
            self.socket.sendall(self._request)
        return True


def load(address: tuple[str, int], request: bytes, clients: int, seconds: float) -> float:
    """Requests per second that `clients` connections get answered, each waiting for its answer."""
    connections = [Connection(address, request) for _ in range(clients)]
    answers, started = 0, time.monotonic()
    while (now := time.monotonic()) - started < seconds:
        ready, _, _ = select.select([c.socket for c in connections], [], [], 5)
        answers += sum(c.answered() for c in connections if c.socket in ready)
    for connection in connections:
        connection.socket.close()
    return answers / (now - started)


def http(
    path: str, headers: dict[str, str], body: dict[str, Any], host: str, method: str = "POST"
) -> bytes:
    """A request as bytes."""
    content = json.dumps(body).encode() if body or method == "POST" else b""
    fields = {"Host": host, "Content-Length": str(len(content)), **headers}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


# --- the servers -------------------------------------------------------------------------------


@contextmanager
def evsd_server(built: Path = VENV_BIN) -> Iterator[Rate]:
    """Evsd on loopback TCP, every request signed."""
    with running_evsd("--http", "127.0.0.1:0", built=built) as evsd:
        evsd.ok("key", "create", "bench")
        pair = evsd.object("access-key", "create")["credential"]
        host = evsd.url().removeprefix("http://")
        bodies = _evsd_bodies(evsd)

        def rate(operation: str, clients: int, seconds: float) -> float:
            path = f"/v1.0/{evsd.project_id()}/kms/{operation}"
            headers = _signed(path, bodies[operation], host, pair)
            request = http(path, headers, bodies[operation], host)
            return load(("127.0.0.1", int(host.split(":")[1])), request, clients, seconds)

        yield rate


def _evsd_bodies(evsd: Evsd) -> dict[str, dict[str, str]]:
    made = evsd.object("key", "create-datakey", "bench")
    return {
        "create-datakey": {"key_id": made["key_id"], "datakey_length": "512"},
        "decrypt-datakey": {
            "key_id": made["key_id"],
            "cipher_text": made["cipher_text"],
            "datakey_cipher_length": "64",
        },
    }


def _signed(
    path: str, body: dict[str, str], host: str, pair: dict[str, str]
) -> dict[str, str]:  # fmt: skip
    headers = {"content-type": "application/json"}
    content = json.dumps(body).encode()
    added = signature.headers_of(
        pair["access"], pair["secret"], "POST", path, "", {**headers, "host": host}, content
    )
    return {**headers, **added}


@contextmanager
def moto_server() -> Iterator[Rate]:
    """Moto's KMS server, as its command starts it."""
    port = _free_port()
    server = subprocess.Popen(
        [MOTO, "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    host = f"127.0.0.1:{port}"

    def request(action: str, body: dict[str, Any]) -> bytes:
        return http("/", _moto_headers(action), body, host)

    def answer(action: str, **body: Any) -> Any:
        return httpx.post(f"http://{host}/", headers=_moto_headers(action), json=body).json()

    try:
        until(lambda: _accepts(port), 60)
        key_id = answer("CreateKey")["KeyMetadata"]["KeyId"]
        made = answer("GenerateDataKey", KeyId=key_id, NumberOfBytes=64)
        requests = {
            "create-datakey": request("GenerateDataKey", {"KeyId": key_id, "NumberOfBytes": 64}),
            "decrypt-datakey": request("Decrypt", {"CiphertextBlob": made["CiphertextBlob"]}),
        }
        yield lambda operation, clients, seconds: load(
            ("127.0.0.1", port), requests[operation], clients, seconds
        )
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(10)


def _moto_headers(action: str) -> dict[str, str]:
    scope = "a/20260101/us-east-1/kms/aws4_request"
    return {
        "X-Amz-Target": f"TrentService.{action}",
        "Content-Type": "application/x-amz-json-1.1",
        "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0",
    }


@contextmanager
def barbican_server() -> Iterator[Rate]:
    """Barbican's API server."""
    port = _free_port()
    host = f"127.0.0.1:{port}"
    with barbican.running(port) as asked:
        requests = {}
        for operation, (method, path, headers, body) in asked.items():
            typed = {**headers, "Content-Type": "application/json"} if body else headers
            requests[operation] = http(path, typed, body, host, method)
        yield lambda operation, clients, seconds: load(
            ("127.0.0.1", port), requests[operation], clients, seconds
        )


@contextmanager
def inside() -> Iterator[Rate]:
    """evsd-keys as evsd's own services ask it: each use has its record, and that its sync."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database = stack.enter_context(closing(Database(f"sqlite:///{directory}/evsd.db")))
        database.migrate()
        with database.transaction() as session:
            session.add(Domain(id="domain", name="bench"))
            session.flush()
            session.add(Project(id="project", domain_id="domain", name="bench", region="bench"))
        paths = KeyProcessPaths(
            program=key_program.__name__,
            database_url=database.url,
            token_dir=directory / "token",
            audit_log=directory / "audit.log",
            release_socket=directory / "keys.sock",
        )
        keys = stack.enter_context(KeyProcess(paths))
        keys.start()
        keys.await_known()
        key_id = keys.call(CALLER, CreateKey("bench", "", "kms")).key_id
        made = keys.call(CALLER, CreateDatakey(key_id, 512, {}, plaintext=True))
        uses: dict[str, Request[Any]] = {
            "create-datakey": CreateDatakey(key_id, 512, {}, plaintext=True),
            "decrypt-datakey": DecryptDatakey(key_id, made.cipher_text, 64, {}),
        }
        loop = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        yield lambda operation, clients, seconds: loop.run(
            _asked(keys, uses[operation], clients, seconds)
        )


async def _asked(keys: KeyProcess, use: Request[Any], clients: int, seconds: float) -> float:
    """Uses per second, of so many callers who each wait for their answer."""
    count, started = 0, time.monotonic()

    async def go_on() -> None:
        nonlocal count
        while time.monotonic() - started < seconds:
            await keys.ask(CALLER, use)
            count += 1

    await asyncio.gather(*(go_on() for _ in range(clients)))
    return count / (time.monotonic() - started)


@contextmanager
def bare_token() -> Iterator[Rate]:
    """One session on a SoftHSM2 token: AES-GCM of a 64-byte data key and nothing else."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        token = stack.enter_context(Token(softhsm.prepare(directory / "token")))
        key = token.generate("bench")
        data_key, iv = secrets.token_bytes(64), secrets.token_bytes(12)
        sealed = key.gcm_encrypt(iv, b"", data_key)
        uses: dict[str, Callable[[], object]] = {
            "create-datakey": lambda: key.gcm_encrypt(iv, b"", data_key),
            "decrypt-datakey": lambda: key.gcm_decrypt(iv, b"", sealed),
        }
        yield lambda operation, _clients, seconds: _repeat(uses[operation], seconds)


def _repeat(use: Callable[[], object], seconds: float) -> float:
    count, started = 0, time.monotonic()
    while (now := time.monotonic()) - started < seconds:
        use()
        count += 1
    return count / (now - started)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


OTHERS = {"moto": moto_server, "barbican": barbican_server, "inside": inside, "token": bare_token}


if __name__ == "__main__":
    main()
