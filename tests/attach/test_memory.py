"""Where the data key is: in the volume's server while a client is connected, nowhere else."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tests.support.daemon import Evsd, until
from tests.support.memory import process_holds
from tests.support.nbd import connected


@pytest.fixture
def secret(evsd: Evsd) -> bytes:
    """The data key of a volume `data`; evsd was started anew since it was told."""
    evsd.ok("create", "data", "--size", "1G", "--key", evsd.prepare())
    dek = evsd.data_key("data")
    evsd.stop()
    evsd.start()
    return dek


def test_connected_the_server_holds_it_and_evsd_does_not(evsd: Evsd, secret: bytes) -> None:
    uri = evsd.ok("attach", "data", "--transport", "uri")
    with connected(uri) as client:
        client.pwrite(b"1" * 4096, 0)
        [server] = evsd.server_pids()
        assert process_holds(server, secret)
        assert not process_holds(evsd.pid, secret)
        assert not process_holds(evsd.keys_pid, secret)


def test_disconnected_no_process_holds_it(evsd: Evsd, secret: bytes) -> None:
    uri = evsd.ok("attach", "data", "--transport", "uri")
    with connected(uri) as client:
        client.pwrite(b"1" * 4096, 0)
    [server] = evsd.server_pids()
    until(lambda: not process_holds(server, secret))  # it closes after the client
    for pid in (evsd.pid, evsd.keys_pid):
        assert not process_holds(pid, secret)


def test_it_is_in_no_argument_environment_or_log(evsd: Evsd, secret: bytes) -> None:
    uri = evsd.ok("attach", "data", "--transport", "uri")
    with connected(uri) as client:
        client.pread(4096, 0)
        [server] = evsd.server_pids()
        texts = [evsd.log, evsd.state / "audit.log", *(evsd.state / "nbd").glob("*.log")]
        texts += [
            Path(f"/proc/{p}/{f}") for p in (server, evsd.pid) for f in ("cmdline", "environ")
        ]
        for path in texts:
            content = path.read_bytes()
            assert secret not in content
            assert secret.hex().encode() not in content.lower()
            assert base64.b64encode(secret) not in content
