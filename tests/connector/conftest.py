"""A real NBD server for the connector to talk to."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.nbdkit import await_start

StartServer = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def socket_path(tmp_path: Path) -> Path:
    """Where the test's server listens."""
    return tmp_path / "nbd.sock"


@pytest.fixture
def start_server(socket_path: Path) -> Iterator[StartServer]:
    """Start nbdkit with these arguments; every one is gone at the end of the test."""
    servers: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        socket_path.unlink(missing_ok=True)  # nbdkit leaves it behind when killed
        server = subprocess.Popen(
            ("nbdkit", "--foreground", "-U", str(socket_path), *arguments),
            stdin=subprocess.DEVNULL,
        )
        servers.append(server)
        await_start(server, socket_path)
        return server

    yield start
    for server in servers:
        server.terminate()  # killed, it would leave its temporary files
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
