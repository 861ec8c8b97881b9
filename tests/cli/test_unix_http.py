"""evsctl's own HTTP on the unix socket: what it loads for it, and answers that are none."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from evsd.cli.http import NoAnswer
from evsd.cli.http.unix import UnixHttp
from tests.support.daemon import Evsd


def test_a_short_command_loads_no_http_library_of_python(shared_evsd: Evsd) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-X", "importtime", "-m", "evsd.cli", "list"],
        env={"EVSD_ENDPOINT": f"unix://{shared_evsd.socket}"},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert {"httptools", "evsd.cli.http.unix"} <= loaded
    assert loaded.isdisjoint({"httpx", "http.client", "ssl", "asyncio", "cryptography", "pyroute2"})


@contextmanager
def answering(path: Path, *answers: bytes) -> Iterator[UnixHttp]:
    """A server whose connections have one request answered each, and are closed then."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        server = threading.Thread(target=serve)
        server.start()
        yield UnixHttp(str(path), 10)
        server.join()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
        b"220 mail\r\n",
    ],
)
def test_what_is_no_whole_answer_is_none(tmp_path: Path, answer: bytes) -> None:
    with answering(tmp_path / "socket", answer) as http, pytest.raises(NoAnswer):
        http.request("GET", "/", None, {})


def test_who_ends_the_connection_is_asked_on_another(tmp_path: Path) -> None:
    answers = [
        b"HTTP/1.1 200 OK\r\nX-One: 1\r\nContent-Length: 2\r\n\r\n{}",
        (
            b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n"
            b'3\r\n{"a\r\n4\r\n":1}\r\n0\r\n\r\n'
        ),
    ]
    with answering(tmp_path / "socket", *answers) as http:
        first, second = (http.request("POST", "/", b"{}", {"q": "a b"}) for _ in answers)
    assert (first.status, first.headers["x-one"], first.content) == (200, "1", b"{}")
    assert (second.status, json.loads(second.content)) == (404, {"a": 1})
