"""Whoever opens connections and says nothing takes nobody else's place."""

from __future__ import annotations

import pwd
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from evsd.api import server
from evsd.api.sources import MOST_TOLD, OTHERS, PERIOD_S, Limits, RareLog, Sources, network
from tests.api.test_callers import STRANGER, USER, ctl_as
from tests.api.test_tcp import PATIENCE_S, SHORT_S, is_ended, running_server
from tests.support import tls
from tests.support.daemon import Evsd, running_evsd, temporary_state, until

DESCRIPTORS = 240  # of evsd in here: 120 for all who are counted, 30 for one
MANY = 400
HALF = [
    b"",
    b"GET /v3/projects HTTP/1.1\r\nHost: x\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n{",
]

# Opens that many connections, says the same on each, tells what it got on the last, and stays.
FLOOD = """
import socket, sys
path, count, said = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode().decode("unicode_escape")
held = []
for _ in range(count):
    held.append(socket.socket(socket.AF_UNIX))
    held[-1].settimeout(60)
    held[-1].connect(path)
    try:
        held[-1].sendall(said.encode())
    except OSError:
        pass
print(held[-1].recv(4096).decode().splitlines()[-1], flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def evsd() -> Iterator[Evsd]:
    with temporary_state() as directory:
        config = directory / "evsd.toml"
        config.write_text(f'[unix_users]\n{USER} = "ordinary user"\n')
        with running_evsd(
            "--config",
            str(config),
            "--http",
            "127.0.0.1:0",
            before=("prlimit", f"--nofile={DESCRIPTORS}"),
        ) as running:
            running.prepare()
            yield running


@contextmanager
def flooded(evsd: Evsd, user: str, said: bytes) -> Iterator[str]:
    """An ordinary user has opened many connections, and keeps what it got.

    Gives what it was told on the last one.
    """
    entry = pwd.getpwnam(user)
    spelled = said.decode("latin1").encode("unicode_escape").decode()
    with subprocess.Popen(
        [sys.executable, "-c", FLOOD, evsd.socket, str(MANY), spelled],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        user=entry.pw_uid,
        group=entry.pw_gid,
        extra_groups=[],
    ) as flood:
        assert flood.stdout is not None
        assert flood.stdin is not None
        yield flood.stdout.readline().decode()
        flood.stdin.close()


def descriptors(evsd: Evsd) -> int:
    return len(list(Path(f"/proc/{evsd.pid}/fd").iterdir()))


def refusals(evsd: Evsd, source: str) -> int:
    events = evsd.events("connections refused")
    return len([event for event in events if str(event["source"]).startswith(source)])


@pytest.mark.parametrize("said", HALF)
def test_a_flood_of_one_unix_user_is_no_other_users_trouble(evsd: Evsd, said: bytes) -> None:
    before = refusals(evsd, "uid:")
    stranger = f"uid:{pwd.getpwnam(STRANGER).pw_uid}"
    with flooded(evsd, STRANGER, said) as told:
        assert "APIGW.0308" in told
        assert f"{stranger} has 30 connections" in told
        assert evsd.object("list")["count"] == 0
        assert ctl_as(USER, evsd, "list").status == 0
        assert descriptors(evsd) < DESCRIPTORS // 2
    assert refusals(evsd, "uid:") - before <= 2
    assert refusals(evsd, stranger) >= 1
    # When they have ended there is room again: the answer is about the caller.
    until(lambda: "APIGW.0301" in ctl_as(STRANGER, evsd, "list").err)


def from_address(url: str, address: str) -> socket.socket:
    host, _, port = url.rpartition("/")[2].partition(":")
    return socket.create_connection((host, int(port)), PATIENCE_S, (address, 0))


def status(evsd: Evsd, address: str) -> int:
    transport = httpx.HTTPTransport(local_address=address)
    with httpx.Client(transport=transport, timeout=PATIENCE_S) as client:
        return client.get(f"{evsd.url()}/v3/projects").status_code


def test_a_flood_from_one_address_is_no_other_addresses_trouble(evsd: Evsd) -> None:
    with ExitStack() as stack:
        for _ in range(MANY):
            stack.enter_context(from_address(evsd.url(), "127.0.0.2")).sendall(HALF[1])
        assert status(evsd, "127.0.0.1") == 401
        assert status(evsd, "127.0.0.2") == 429
        assert evsd.object("list")["count"] == 0
        assert 1 <= refusals(evsd, "127.0.0.2") <= 2
    until(lambda: status(evsd, "127.0.0.2") == 401)


def test_a_flood_from_many_addresses_leaves_room_for_root(evsd: Evsd) -> None:
    with ExitStack() as stack:
        for number in range(MANY):
            address = f"127.0.1.{1 + number % 50}"
            stack.enter_context(from_address(evsd.url(), address))
        assert status(evsd, "127.0.0.1") == 429
        assert evsd.object("list")["count"] == 0
        evsd.ok("create", "meanwhile", "--size", "1G", "--key", "test-key")
        evsd.ok("attach", "meanwhile", "--transport", "uri")
        evsd.ok("detach", "meanwhile")
        evsd.ok("delete", "meanwhile", "--yes")
    until(lambda: status(evsd, "127.0.0.1") == 401)


def test_connections_count_before_tls_has_begun(tmp_path: Path) -> None:
    made = tls.make(tmp_path)
    with temporary_state() as directory:
        config = directory / "evsd.toml"
        config.write_text(f'[tls]\ncertificate = "{made.certificate}"\nkey = "{made.key}"\n')
        limit = ("prlimit", f"--nofile={DESCRIPTORS}")
        options = ("--config", str(config), "--http", "127.0.0.1:0")
        with running_evsd(*options, before=limit) as evsd, ExitStack() as stack:
            for _ in range(MANY):
                stack.enter_context(from_address(evsd.url(), "127.0.0.2"))
            until(lambda: refusals(evsd, "127.0.0.2") == 1)
            assert descriptors(evsd) < DESCRIPTORS // 2
            assert evsd.object("list")["count"] == 0


def send_without_end(client: socket.socket, requests: bytes) -> None:
    while True:
        client.send(requests)


def test_a_client_that_does_not_read_its_answers_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "READ_TIMEOUT_S", SHORT_S)
    with running_server() as (_, address), socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(PATIENCE_S)
        client.connect(address)
        requests = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 100
        with pytest.raises(OSError, match=r"reset|Broken pipe"):
            send_without_end(client, requests)
        assert is_ended(client)


def test_garbage_has_a_line_and_not_one_for_each(evsd: Evsd) -> None:
    for _ in range(50):
        with from_address(evsd.url(), "127.0.0.5") as client:
            client.sendall(b"\x16\x03\x01 hello\r\n\r\n")
            assert is_ended(client)
    events = evsd.events("requests were no HTTP")
    assert 1 <= len([event for event in events if event["source"] == "127.0.0.5"]) <= 2
    assert "Invalid HTTP" not in evsd.log.read_text()


def test_the_networks_of_ipv6_are_counted_and_not_their_addresses() -> None:
    assert network("2001:db8::1") == network("2001:db8::ffff:1")
    assert network("2001:db8::1") != network("2001:db8:0:1::1")
    assert network("192.0.2.1") != network("192.0.2.2")


def test_what_is_given_back_can_be_had_again() -> None:
    sources = Sources(Limits(of_all=3, of_one=2))
    admitted = [sources.admit(source, 0.0) for source in ("a", "a", "a", "b", "b")]
    assert admitted == [True, True, False, True, False]
    sources.gone("a")
    assert sources.admit("b", 0.0)
    assert not sources.admit("c", 0.0)


def test_a_source_has_a_line_a_minute_and_many_have_no_more(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = RareLog("refused")
    for second in range(int(PERIOD_S) * 3):
        told.tell("a", float(second))
    assert capsys.readouterr().out.count("refused") == 3
    for number in range(1000):
        told.tell(f"source {number}", 0.0)
    lines = [line for line in capsys.readouterr().out.splitlines() if "refused" in line]
    assert len(lines) <= MOST_TOLD
    assert OTHERS in lines[-1]


def test_evsd_raises_the_number_of_descriptors_as_far_as_it_may() -> None:
    with running_evsd(before=("prlimit", "--nofile=64:1000")) as evsd:
        limits = Path(f"/proc/{evsd.pid}/limits").read_text()
        [line] = [line for line in limits.splitlines() if line.startswith("Max open files")]
        soft, hard = line.split()[3:5]
        assert soft == hard
        assert int(hard) >= 1000
