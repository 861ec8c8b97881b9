"""Where the servers have their files: sockets, logs, reports of their clients."""

from __future__ import annotations

import contextlib
from pathlib import Path

from evsd.serving.inherited import NEW

DIRECTORY_NAME_LENGTH = 12
SOCKET_NAME = "sock"


class ServerFiles:
    """The files of all servers, below one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def own_directory(self, server_id: str) -> Path:
        """The directory of its socket alone.

        Named by a part of the id that tells it well enough: a socket's path is short.
        """
        return self.directory / server_id.replace("-", "")[:DIRECTORY_NAME_LENGTH]

    def socket(self, server_id: str) -> Path:
        """The unix socket on which it serves.

        An earlier evsd had no such directories; what that has started keeps its socket.
        """
        own = self.own_directory(server_id)
        return own / SOCKET_NAME if own.is_dir() else own.with_suffix(".sock")

    def log(self, server_id: str) -> Path:
        """What the server says."""
        return self.directory / f"{server_id}.log"

    def report(self, server_id: str) -> Path:
        """Who is connected, as the server tells; one that an earlier evsd has started does not."""
        return self.directory / f"{server_id}.clients"

    def control(self, server_id: str) -> Path:
        """The socket on which evsd tells it something."""
        return self.directory / f"{server_id}.control"

    def sockets(self) -> set[Path]:
        """All that there are."""
        return {*self.directory.glob("*.sock"), *self.directory.glob(f"*/{SOCKET_NAME}")}

    def remove(self, server_id: str) -> None:
        """Those of a server that has ended."""
        self.socket(server_id).unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):  # of an earlier evsd, or not served yet
            self.own_directory(server_id).rmdir()
        self.log(server_id).unlink(missing_ok=True)
        self.report(server_id).unlink(missing_ok=True)
        self.control(server_id).unlink(missing_ok=True)

    def remove_unused(self) -> None:
        """Those of servers that never got their ticket."""
        for made in self.directory.glob(f"*{NEW}"):
            made.unlink()


def is_in_own_directory(socket: Path) -> bool:
    """Whether a socket is where this evsd puts them, and not where an earlier one did."""
    return socket.name == SOCKET_NAME
