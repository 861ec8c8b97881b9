"""The user-space handshake, against nbdkit and against things that are not NBD servers."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from evsd.connector.errors import ConnectorError, ProtocolError, ServerRefused, ServerUnreachable
from evsd.connector.nbd import UNSTATED, BlockSizes, handshake

from .conftest import StartServer

GREETING = struct.pack(">8s8sH", b"NBDMAGIC", b"IHAVEOPT", 3)
SIZE = 1 << 20
EXPORT = struct.pack(">HQH", 0, SIZE, 1)


def reply(kind: int, payload: bytes = b"", length: int | None = None) -> bytes:
    """One reply to OPT_GO, with a false length if given."""
    length = len(payload) if length is None else length
    return struct.pack(">QIII", 0x3E889045565A9, 7, kind, length) + payload


@contextmanager
def scripted(path: Path, answer: bytes, *, hang_up: bool = True) -> Iterator[None]:
    """A raw server that sends these bytes to one client, whatever it says."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        done = threading.Event()

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.sendall(answer)
                if hang_up:
                    peer.shutdown(socket.SHUT_WR)
                done.wait()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def test_size_and_flags(start_server: StartServer, socket_path: Path) -> None:
    start_server("memory", "64M")
    export = handshake(socket_path)
    with export.sock:
        assert export.size == 64 << 20
        assert not export.read_only


def test_read_only_export(start_server: StartServer, socket_path: Path) -> None:
    start_server("-r", "memory", "64M")
    export = handshake(socket_path)
    with export.sock:
        assert export.read_only


def test_block_sizes(start_server: StartServer, socket_path: Path) -> None:
    start_server(
        *("--filter=blocksize-policy", "memory", "64M"),
        *("blocksize-minimum=512", "blocksize-preferred=4096", "blocksize-maximum=1M"),
    )
    export = handshake(socket_path)
    with export.sock:
        assert export.block_sizes == BlockSizes(512, 4096, 1 << 20)


def test_socket_is_in_transmission_phase(start_server: StartServer, socket_path: Path) -> None:
    start_server("pattern", "64M")
    export = handshake(socket_path)
    with export.sock as sock:
        sock.settimeout(60)
        sock.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, 42, 4096, 8))  # read 8 at 4096
        answer = sock.recv(16, socket.MSG_WAITALL)
        assert struct.unpack(">IIQ", answer) == (0x67446698, 0, 42)
        assert sock.recv(8, socket.MSG_WAITALL) == struct.pack(">Q", 4096)


def test_an_export_is_asked_for_by_its_name(start_server: StartServer, socket_path: Path) -> None:
    names = '[ "$3" = mine ] || { echo ENOENT >&2; exit 1; }'
    start_server("eval", f"open={names}", "get_size=echo 1M")
    with handshake(socket_path, "mine").sock:
        pass
    with pytest.raises(ServerRefused):
        handshake(socket_path)


def test_refusal(start_server: StartServer, socket_path: Path) -> None:
    start_server("eval", "open=echo EACCES not today >&2; exit 1", "get_size=echo 1M")
    with pytest.raises(ServerRefused) as caught:
        handshake(socket_path)
    assert caught.value.remedy


def test_refusal_carries_the_servers_words(socket_path: Path) -> None:
    said = reply(0x8000_0002, b"key payroll is disabled\x1b[2J")
    with scripted(socket_path, GREETING + said), pytest.raises(ServerRefused) as caught:
        handshake(socket_path)
    assert "key payroll is disabled" in caught.value.message
    assert "\x1b" not in caught.value.message


def test_server_that_demands_tls(
    start_server: StartServer, socket_path: Path, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.psk"
    keys.write_text("me:" + "0" * 64)
    start_server("--tls=require", f"--tls-psk={keys}", "memory", "1M")
    with pytest.raises(ServerRefused, match="TLS"):
        handshake(socket_path)


def test_nobody_there(socket_path: Path) -> None:
    with pytest.raises(ServerUnreachable):
        handshake(socket_path)


def test_path_too_long_for_a_socket(tmp_path: Path) -> None:
    with pytest.raises(ServerUnreachable):
        handshake(tmp_path / ("x" * 200))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(b"", ServerUnreachable, id="hangs up at once"),
        pytest.param(GREETING[:10], ServerUnreachable, id="hangs up in the greeting"),
        pytest.param(GREETING, ServerUnreachable, id="hangs up after the greeting"),
        pytest.param(GREETING + reply(3, EXPORT), ServerUnreachable, id="never acknowledges"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n", ProtocolError, id="another protocol"),
        pytest.param(GREETING[:-2] + b"\0\0", ProtocolError, id="oldstyle"),
        pytest.param(GREETING + b"x" * 100, ProtocolError, id="garbage reply"),
        pytest.param(GREETING + reply(3, length=1 << 31), ProtocolError, id="2 GiB reply"),
        pytest.param(GREETING + reply(1), ProtocolError, id="acknowledges nothing"),
        pytest.param(GREETING + reply(3), ProtocolError, id="empty information"),
        pytest.param(GREETING + reply(3, EXPORT[:-1]), ProtocolError, id="short export"),
        pytest.param(
            GREETING + reply(3, struct.pack(">HQH", 0, 1 << 63, 1)), ProtocolError, id="huge size"
        ),
        pytest.param(
            GREETING + reply(3, struct.pack(">HQH", 0, 0, 1)), ProtocolError, id="size zero"
        ),
        pytest.param(
            GREETING + reply(3, struct.pack(">HQH", 0, 512, 0)), ProtocolError, id="no flags"
        ),
        pytest.param(
            GREETING + reply(3, struct.pack(">HIII", 3, 3, 3, 3)), ProtocolError, id="odd blocks"
        ),
        pytest.param(GREETING + reply(9), ProtocolError, id="unknown reply"),
        pytest.param(GREETING + reply(3, EXPORT) * 100, ProtocolError, id="endless information"),
    ],
)
def test_broken_server(socket_path: Path, answer: bytes, expected: type[ConnectorError]) -> None:
    with scripted(socket_path, answer), pytest.raises(expected):
        handshake(socket_path)


@pytest.mark.parametrize("answer", [b"", GREETING, GREETING + reply(3, EXPORT)])
def test_silent_server_times_out(socket_path: Path, answer: bytes) -> None:
    with (
        scripted(socket_path, answer, hang_up=False),
        pytest.raises(ServerUnreachable, match="no answer in time"),
    ):
        handshake(socket_path, timeout=0.3)


def test_unknown_information_is_skipped(socket_path: Path) -> None:
    extra = reply(3, struct.pack(">H", 2) + b"a description")
    answer = GREETING + extra + reply(3, EXPORT) + reply(1)
    with scripted(socket_path, answer):
        export = handshake(socket_path)
        export.sock.close()
    assert (export.size, export.flags, export.block_sizes) == (SIZE, 1, UNSTATED)
