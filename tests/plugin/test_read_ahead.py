"""Requests that a client sends together are received together, and stay in their connection."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evsd.connector.nbd import handshake
from tests.support.volume import Volume

READ, WRITE, DISCONNECT = 0, 1, 2
SIZES = (512, 4096, 700, 20_000, 1, 70_000)
WARMING = 200  # requests, after which every thread of a connection has answered some


def request(kind: int, number: int, offset: int, length: int, data: bytes = b"") -> bytes:
    """As NBD has it; `number` comes back in the reply."""
    return struct.pack(">IHHQQI", 0x25609513, 0, kind, number, offset, length) + data


@contextmanager
def connection(volume: Volume) -> Iterator[socket.socket]:
    """A client of our own, for it is the pieces that are under test."""
    with handshake(volume.socket).sock as connected:
        yield connected


def receive(connected: socket.socket, length: int) -> bytes:
    """So many bytes, or fewer at the end."""
    parts = bytearray()
    while len(parts) < length and (part := connected.recv(length - len(parts))):
        parts += part
    return bytes(parts)


def replies(connected: socket.socket, count: int, length: int = 0) -> dict[int, bytes]:
    """By the requests' numbers; each has so many bytes of data."""
    found = {}
    for _ in range(count):
        magic, error, number = struct.unpack(">IIQ", receive(connected, 16))
        assert (magic, error) == (0x67446698, 0)
        found[number] = receive(connected, length)
    return found


def warm_up(connected: socket.socket) -> None:
    connected.sendall(b"".join(request(READ, number, 0, 1) for number in range(WARMING)))
    replies(connected, WARMING, 1)


def calls(trace: Path) -> int:
    return sum("= -1" not in line for line in trace.read_text().splitlines())


def test_many_requests_are_received_by_few_calls(volume: Volume, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    volume.wrapper = ("strace", "-f", "-qq", "-e", "trace=read,readv,recvfrom", "-o", str(trace))
    writes = [request(WRITE, number, 512 * number, 64, b"w" * 64) for number in range(100)]
    with volume.served(), connection(volume) as connected:
        warm_up(connected)
        before = calls(trace)
        connected.sendall(b"".join(writes))
        assert replies(connected, 100).keys() == set(range(100))
        assert calls(trace) - before <= 10


def test_data_of_any_size_is_received_whole_in_whatever_pieces_it_comes(volume: Volume) -> None:
    written, at, stream = {}, 0, b""
    for number in range(60):
        size = SIZES[number % len(SIZES)]
        data = bytes([number]) * size
        stream += request(WRITE, number, at, size, data)
        written[at] = data
        at += size
    with volume.served(), connection(volume) as connected:
        warm_up(connected)
        for piece in (1, 27, 28, 29, 5000, 100_000, len(stream)):
            sent = min(len(stream), 50 * piece)
            for start in range(0, sent, piece):
                connected.sendall(stream[start : start + piece])
            connected.sendall(stream[sent:])
            replies(connected, 60)
            connected.sendall(request(READ, 1, 0, at))
            assert replies(connected, 1, at)[1] == b"".join(written.values())
            connected.sendall(request(WRITE, 1, 0, at, bytes(at)))
            replies(connected, 1)


def test_what_a_client_sent_after_its_end_never_reaches_the_next_one(volume: Volume) -> None:
    junk = b"\xff" * 4000
    with volume.served(), connection(volume):
        for _ in range(20):
            with connection(volume) as leaving:
                warm_up(leaving)
                leaving.sendall(request(DISCONNECT, 1, 0, 0) + junk)
                assert receive(leaving, 1) == b""
