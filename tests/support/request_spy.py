"""A server that tells whether its requests wait for each other; see `request_spy.c`."""

from __future__ import annotations

import mmap
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.volume import FRONT

SOURCE = Path(__file__).with_suffix(".c")
HEAD, LOCK, LOCKS = struct.Struct("II"), struct.Struct("QQ"), 4096


@dataclass
class Seen:
    """What happened in the server: how often the GIL was asked for, where each lock was taken."""

    gil: int = 0
    processors_of_locks: list[int] = field(default_factory=list)  # a bit each


class RequestSpy:
    """What is loaded into a server, and what it tells."""

    def __init__(self, directory: Path) -> None:
        self._library, self._shared = directory / "request_spy.so", directory / "seen"
        command = ["gcc", "-O2", "-fPIC", "-shared", "-o", str(self._library), str(SOURCE)]
        subprocess.run(command, check=True)
        self._shared.write_bytes(bytes(HEAD.size + LOCKS * LOCK.size))
        # `env` becomes nbdkit, so that the server is the process that was started.
        variables = f"LD_PRELOAD={self._library}:{FRONT}", f"REQUEST_SPY={self._shared}"
        self.wrapper = ("env", *variables)

    @contextmanager
    def watching(self) -> Iterator[Seen]:
        """What happens meanwhile is in the result, once the block has ended."""
        seen = Seen()
        with self._shared.open("r+b") as file, mmap.mmap(file.fileno(), 0) as shared:
            shared[:] = bytes(len(shared))
            shared[0] = 1
            try:
                yield seen
            finally:
                shared[0] = 0
            seen.gil = HEAD.unpack_from(shared)[1]
            locks = (LOCK.unpack_from(shared, HEAD.size + n * LOCK.size) for n in range(LOCKS))
            seen.processors_of_locks = [processors for address, processors in locks if address]


def threads_of(pid: int) -> set[int]:
    """All the threads of a process."""
    return {int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()}
