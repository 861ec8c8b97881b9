"""Replies leave in one piece, and whole, whatever the socket takes of them."""

from __future__ import annotations

import ctypes
import os
import random
import socket
import threading
from pathlib import Path

from tests.support.volume import FRONT, Volume

SIZES = [0, 1, 8, 20, 28, 40, 64, 65, 5000, 300_000]


def send_all(front: ctypes.CDLL, connection: socket.socket, data: bytes, flags: int) -> None:
    """As nbdkit does it."""
    at = 0
    while at < len(data) or not data:
        part = ctypes.create_string_buffer(data[at:], len(data) - at)
        sent = front.send(connection.fileno(), part, len(data) - at, flags)
        if sent < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        at += sent
        if not data:
            return


def test_all_bytes_arrive_in_order_whatever_the_socket_takes_at_once() -> None:
    chance = random.Random(1)  # noqa: S311
    front = ctypes.CDLL(FRONT, mode=os.RTLD_LAZY, use_errno=True)
    front.send.restype = ctypes.c_ssize_t
    front.send.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    ours, theirs = socket.socketpair()
    expected, received = bytearray(), bytearray()

    def read() -> None:
        while part := theirs.recv(chance.choice([1, 7, 4096, 100_000])):
            received.extend(part)

    reader = threading.Thread(target=read)
    with theirs:
        with ours:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            reader.start()
            for _ in range(300):
                for more in [*([socket.MSG_MORE] * chance.randrange(4)), 0]:
                    piece = chance.randbytes(chance.choice(SIZES[: len(SIZES) - 2 * bool(more)]))
                    expected.extend(piece)
                    send_all(front, ours, piece, more)
        reader.join()
    assert received == expected


def test_the_reply_to_a_read_is_one_message(volume: Volume, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    volume.wrapper = ("strace", "-f", "-qq", "-e", "trace=sendto,sendmsg", "-o", str(trace))
    with volume.served(), volume.connected() as (handle,):
        before = len(trace.read_text().splitlines())
        for _ in range(10):
            handle.pread(4096, 0)
        assert len(trace.read_text().splitlines()) - before == 10
