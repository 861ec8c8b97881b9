"""A monitor of a running qemu: one command at a time, its events kept."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

PATIENCE_S = 300


class Monitor:
    """Speaks QMP over the unix socket that qemu listens on."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE_S)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("rw")
        self.events: list[str] = []
        self._read()  # its greeting
        self("qmp_capabilities")

    def __call__(self, command: str, **arguments: Any) -> Any:
        """Have it done; raises AssertionError with qemu's words where it is refused."""
        self._lines.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._lines.flush()
        while "event" in (answer := self._read()):
            self.events.append(answer["event"])
        assert "return" in answer, answer
        return answer["return"]

    def await_event(self, name: str) -> None:
        """Wait until one of this name has come."""
        while name not in self.events:
            self.events.append(self._read()["event"])

    def close(self) -> None:
        """Hang up; qemu goes on."""
        self._lines.close()
        self._socket.close()

    def _read(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._lines.readline())
        return answer
