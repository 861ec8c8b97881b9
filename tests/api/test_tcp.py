"""The TCP listener: quick for those who are quick, patient only so long with those who aren't."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from evsd.api import gateway, listeners, server
from evsd.api.app import build_app
from evsd.api.gateway import Gatekeeper, SignedRequest
from evsd.errors import CallerUnknown
from evsd.principal import Principal
from evsd.services import modules
from tests.support.daemon import Evsd

# Only what must not come in time is waited for so shortly.
SHORT_S = 0.5
PATIENCE_S = 60


class KnowsNobody(Gatekeeper):
    async def __call__(self, _request: SignedRequest) -> Principal:
        raise CallerUnknown(reason="nobody is known here")

    def is_claimed(self, _headers: object) -> bool:
        return True

    def has_project(self, _principal: Principal, _project_id: str) -> bool:
        return False

    def default_project(self, _principal: Principal) -> str:
        return ""


@contextmanager
def running_server() -> Iterator[tuple[server.Server, tuple[str, int]]]:
    """The real server, in here, and its address."""
    ready = threading.Event()
    listener = listeners.listen_tcp("127.0.0.1:0")
    running = server.Server(build_app(modules("routes"), KnowsNobody()), None, ready.set)
    thread = threading.Thread(target=running.run, args=([listener],))
    thread.start()
    try:
        assert ready.wait(PATIENCE_S)
        host, port = listener.getsockname()
        yield running, (str(host), int(port))
    finally:
        running.should_exit = True
        thread.join(PATIENCE_S)
    assert not thread.is_alive()


@pytest.fixture
def client() -> Iterator[socket.socket]:
    """Connected to a server that is still patient."""
    with running_server() as (_, address), socket.create_connection(address, PATIENCE_S) as client:
        yield client


@pytest.fixture
def unheard(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Connected to a server that soon ends a connection without a head."""
    monkeypatch.setattr(server, "HEAD_TIMEOUT_S", SHORT_S)
    with running_server() as (_, address), socket.create_connection(address, PATIENCE_S) as client:
        yield client


def is_ended(client: socket.socket) -> bool:
    """Whether nothing more comes; a reset is an end to what was sent after it too."""
    with contextlib.suppress(ConnectionError):
        while client.recv(4096):
            pass
    return True


def test_answers_do_not_wait_for_delayed_acknowledgements() -> None:
    """Linux delays them for 40 ms, which without TCP_NODELAY every second answer waits for."""
    with (
        running_server() as (running, address),
        socket.create_connection(address, PATIENCE_S) as client,
    ):
        client.sendall(b"GET /v3/projects HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 401")
        [connection] = running.server_state.connections
        accepted: Any = connection
        peer = accepted.transport.get_extra_info("socket")
        assert peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize(
    "sent", [b"", b"GET /v3/pro", b"GET /v3/projects HTTP/1.1\r\nHost: x\r\nX-Slow: "]
)
def test_a_head_that_does_not_come_ends_the_connection(unheard: socket.socket, sent: bytes) -> None:
    unheard.sendall(sent)
    assert is_ended(unheard)


def test_a_head_in_drops_ends_the_connection_too(unheard: socket.socket) -> None:
    unheard.sendall(b"GET /v3/projects HTTP/1.1\r\n")

    def send_in_drops() -> None:
        for number in range(600):
            unheard.sendall(b"X-%d: y\r\n" % number)
            time.sleep(SHORT_S / 5)

    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        send_in_drops()


def test_a_second_request_of_a_connection_has_its_head_in_time_too(
    client: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.sendall(b"GET /v3/projects HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.recv(4096).startswith(b"HTTP/1.1 401")
    monkeypatch.setattr(server, "HEAD_TIMEOUT_S", SHORT_S)
    client.sendall(b"GET / HT")
    assert is_ended(client)


def test_a_body_that_does_not_come_is_refused(
    client: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "BODY_TIMEOUT_S", SHORT_S)
    client.sendall(b"POST /v3/domains HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
    assert client.recv(4096).startswith(b"HTTP/1.1 408")


def test_who_sends_in_time_is_answered() -> None:
    with running_server() as (_, (host, port)):
        answer = httpx.post(f"http://{host}:{port}/v3/domains", json={}, timeout=PATIENCE_S)
        assert answer.status_code == 401


def test_a_connection_may_be_idle_for_longer_than_clients_keep_it() -> None:
    """A request on a connection that is being ended meanwhile would fail."""
    clients = httpx.Limits().keepalive_expiry
    with running_server() as (running, _):
        assert clients is not None
        assert running.config.timeout_keep_alive > clients


def test_a_head_without_end_ends_the_connection(tcp_evsd: Evsd) -> None:
    host, port = tcp_evsd.url().removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), PATIENCE_S) as client:
        client.sendall(b"GET /v3/projects HTTP/1.1\r\nX-Endless: ")
        sent: list[int] = []

        def send_on() -> None:
            while sum(sent) < 64 * 1024 * 1024:
                sent.append(client.send(b"x" * 65536))

        with pytest.raises(OSError, match=r"reset|Broken pipe"):
            send_on()
        assert sum(sent) < 16 * 1024 * 1024


def test_a_long_body_may_come_with_its_head(tcp_evsd: Evsd) -> None:
    body = b'{"x": "' + b"y" * 200_000 + b'"}'
    path = f"{tcp_evsd.url()}/v1.0/p/kms/list-keys"
    answer = httpx.post(path, content=body, timeout=PATIENCE_S)
    assert answer.status_code == 401
