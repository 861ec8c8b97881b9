"""A key process that dies, or hangs, with requests in its socket."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest

from evsd.errors import KeysUnavailable
from evsd.key_channel.shared import Probe
from evsd.key_client.loop_channel import LoopChannel
from evsd.key_client.process import CALL_TIMEOUT_S, PROBE
from tests.support.daemon import Evsd, until


@contextmanager
def asking(evsd: Evsd, count: int, operation: str, **body: Any) -> Iterator[list[socket.socket]]:
    """Clients whose requests evsd has read, each waiting for its answer."""
    path = f"/v1.0/{evsd.project_id()}/kms/{operation}"
    request = httpx.Request("POST", f"http://evsd{path}", json=body)
    head = [f"POST {path} HTTP/1.1", *(f"{name}: {text}" for name, text in request.headers.items())]
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(count)]
        for client in clients:
            client.connect(str(evsd.socket))
            client.sendall("\r\n".join([*head, "", ""]).encode() + request.content)
        with evsd.http() as http:  # it reads in the order of arrival
            assert http.get("/v3/projects").status_code == 200
        yield clients


def statuses(clients: list[socket.socket]) -> set[bytes]:
    """Of all answers."""
    return {client.recv(1 << 16).split()[1] for client in clients}


def test_requests_it_has_not_read_are_answered_when_it_is_killed(evsd: Evsd) -> None:
    """The socket then ends with a reset instead of an end of file."""
    os.kill(evsd.keys_pid, signal.SIGSTOP)
    with asking(evsd, 4, "list-keys") as clients:
        os.kill(evsd.keys_pid, signal.SIGKILL)
        ready, _, _ = select.select(clients, [], [], 10)  # an answer is waited for longer
        assert ready
        assert statuses(clients) == {b"503"}


def test_evsd_stops_while_its_key_process_is_being_started_again(evsd: Evsd) -> None:
    os.kill(evsd.keys_pid, signal.SIGKILL)
    until(lambda: "key process ended" in evsd.log.read_text())
    assert evsd.stop() == 0


def test_a_process_that_hangs_holds_up_nobody_else_and_is_replaced(evsd: Evsd) -> None:
    """More is asked of it than fits into its socket."""
    key_id = evsd.object("key", "create", "held-up")["key_info"]["key_id"]
    hangs, context = evsd.keys_pid, {"long": "x" * 8000}
    os.kill(hangs, signal.SIGSTOP)
    data = {"key_id": key_id, "plain_text": "y" * 4096, "encryption_context": context}
    with asking(evsd, 60, "encrypt-data", **data) as clients:
        answered, _, _ = select.select(clients, [], [], 0)
        assert not answered
        assert statuses(clients) == {b"503"}
    until(lambda: evsd.ctl("key", "create-datakey", "held-up").status == 0, 60)
    assert evsd.keys_pid != hangs


def test_who_asks_first_once_it_has_ended_is_told_so() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    channel = LoopChannel(ours)
    channel.close()
    with pytest.raises(KeysUnavailable):
        asyncio.run(channel.ask(PROBE, Probe(), None, CALL_TIMEOUT_S))
