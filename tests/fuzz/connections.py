"""Connections that come and go while others have requests: for the thread sanitizer. The first one
gets the key, the close of the last one wipes it. ``python -m tests.fuzz.connections``, where
`tests/support/threads_front.c` is preloaded.
"""

from __future__ import annotations

import ctypes
import os
import random
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nbd_plugin import _datapath, sockets
from nbd_plugin.server import Server
from tests.support.volume import MIB, Volume, new_volume

CONNECTIONS, SECONDS, PAUSE_S, SIZE = 3, 3, 0.2, 4 * MIB


def prepared(volume: Volume) -> Server:
    """The server of a volume, as nbdkit's start leaves it."""
    reading, writing = os.pipe()
    os.write(writing, volume.service.ticket.encode())
    os.close(writing)
    server = Server()
    server.options |= {
        "file": str(volume.path),
        "attachment": volume.attachment,
        "release_socket": str(volume.service.socket),
        "ticket_fd": str(reading),
    }
    server.prepare()
    sockets.remember_descriptors()
    assert _datapath.hand_over(), "the front has to be preloaded"
    return server


def come_and_go(
    server: Server, front: ctypes.CDLL, seed: int, is_enough: Callable[[], bool]
) -> int:
    """One connection after the other; gives how many there were."""
    chance, count = random.Random(seed), 0  # noqa: S311
    while not is_enough():
        client = server.connect("", read_only=False)
        try:
            error = front.serve(seed + count, ctypes.c_uint64(SIZE))
        finally:
            server.disconnect(client)
        if error:
            raise OSError(error, os.strerror(error))
        count += 1
        time.sleep(chance.uniform(0, PAUSE_S))  # now and then all of them are away
    return count


def main() -> None:
    """Ends with status 0; a sanitizer ends it otherwise, and so does a request that fails."""
    front = ctypes.CDLL(None)
    end = time.monotonic() + SECONDS
    with (
        tempfile.TemporaryDirectory() as directory,
        new_volume(Path(directory), size=SIZE) as volume,
        ThreadPoolExecutor(CONNECTIONS) as pool,
    ):
        server = prepared(volume)

        def is_enough() -> bool:
            """Some seconds, and on a slow machine until the key has been wiped once."""
            return time.monotonic() > end and len(volume.service.requests) > 1

        seeds = range(0, CONNECTIONS * 1000, 1000)
        works = [pool.submit(come_and_go, server, front, seed, is_enough) for seed in seeds]
        connections = sum(work.result() for work in works)
    print(f"{connections} connections, the key came {len(volume.service.requests)} times")


if __name__ == "__main__":
    main()
