"""Telling a server of a new layer, as evsd would."""

from __future__ import annotations

import array
import hashlib
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from evsd.layers.chain import chain
from evsd.layers.making import take
from tests.support.volume import Volume


class Controlled:
    """A volume with a control socket, whose file is in a pool's directory under its id."""

    def __init__(self, volume: Volume, listening: socket.socket, path: Path) -> None:
        self._path, self._directory = path, volume.path.parent
        self._fds = [
            os.open(layer.path, os.O_RDONLY)
            for layer in chain(self._directory, volume.header.uuid)[1:]
        ]
        numbers = ",".join(map(str, self._fds))
        self.volume = replace(
            volume,
            arguments=(
                f"control_fd={listening.fileno()}",
                *([f"layer_fds={numbers}"] if self._fds else []),
            ),
            inherited=(listening.fileno(), *self._fds),
        )

    def close(self) -> None:
        """The server has its own."""
        for fd in self._fds:
            os.close(fd)

    def ask(self, do: str, *fds: int, ticket: str | None = None) -> dict[str, Any]:
        """One message, and its answer."""
        ticket = self.volume.service.ticket if ticket is None else ticket
        digest = hashlib.sha256(ticket.encode()).hexdigest()
        message = json.dumps({"ticket_sha256": digest, "do": do}).encode()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            connection.connect(str(self._path))
            passed = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
            connection.sendmsg([message], [passed] if fds else [])
            answer: dict[str, Any] = json.loads(connection.recv(65536))
        return answer

    def switch(self, fd: int) -> None:
        """What `take` calls."""
        answer = self.ask("switch", fd)
        assert "error" not in answer, answer

    def take(self, snapshot_id: str) -> None:
        """A snapshot of the volume while it is served."""
        take(self._directory, self.volume.header.uuid, snapshot_id, self.switch)


@contextmanager
def controlled(volume: Volume) -> Iterator[Controlled]:
    """Ready to be served; the file gets the name that it has in a pool."""
    path = volume.path.with_name(f"{volume.header.uuid}.luks")
    if not path.exists():
        volume.path.rename(path)
    control = volume.socket.with_suffix(".control")
    control.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(str(control))
        listening.listen()
        made = Controlled(replace(volume, path=path), listening, control)
        try:
            yield made
        finally:
            made.close()
