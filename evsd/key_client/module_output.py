"""What a PKCS#11 module writes to standard output and error: lines of evsd's log.

evsd reads it, not evsd-keys, so that nothing is lost of what a module says before it crashes.
"""

from __future__ import annotations

import collections
import contextlib
import fcntl
import os
import select
import threading
import time

import structlog

PERIOD_S = 60
LINES = 60  # of a period; of more only the last are told, and how many there were
LAST_LINES = 20
LINE_LENGTH = 2000
PIPE_BYTES = 1 << 20

log = structlog.get_logger()


class ModuleOutput:
    """A pipe's two ends and the thread that reads it until the last writer has closed it."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._reading, self.writing = os.pipe2(os.O_CLOEXEC)
        # A module must never wait for the log. While evsd is stopped more than fits is lost.
        os.set_blocking(self.writing, False)
        with contextlib.suppress(OSError):  # a user's pipes together may have only so many pages
            fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._rest = b""
        self._until, self._left = 0.0, 0
        self._untold = 0
        self._last: collections.deque[str] = collections.deque(maxlen=LAST_LINES)
        self._thread = threading.Thread(target=self._read, name="module-output", daemon=True)

    def start(self) -> None:
        """Begin to read, once the process that writes has its own end."""
        os.close(self.writing)
        self._thread.start()

    def discard(self) -> None:
        """Close both ends of one that was never started."""
        os.close(self.writing)
        os.close(self._reading)

    def wait(self, seconds: float) -> None:
        """Until all is told, if its writers end in time."""
        self._thread.join(seconds)

    def _read(self) -> None:
        while (data := self._next()) is not None:
            *lines, self._rest = (self._rest + data).split(b"\n")
            if len(self._rest) > LINE_LENGTH:
                lines, self._rest = [*lines, self._rest], b""
            for line in lines:
                self._take(line)
        self._take(self._rest)
        self._tell_rest()
        os.close(self._reading)

    def _next(self) -> bytes | None:
        """What comes next: nothing when a period with untold lines is over, None at the end."""
        patience = max(0.0, self._until - time.monotonic()) if self._untold else None
        ready, _, _ = select.select([self._reading], [], [], patience)
        if not ready:
            self._tell_rest()
            return b""
        return os.read(self._reading, 1 << 16) or None

    def _take(self, line: bytes) -> None:
        text = line[:LINE_LENGTH].decode(errors="backslashreplace").rstrip()
        if not text:
            return
        if time.monotonic() >= self._until:
            self._tell_rest()
            self._until, self._left = time.monotonic() + PERIOD_S, LINES
        if self._left:
            self._left -= 1
            self._tell(text)
        else:
            self._untold += 1
            self._last.append(text)

    def _tell(self, text: str) -> None:
        log.warning("the PKCS#11 module wrote", module=self._module, line=text)

    def _tell_rest(self) -> None:
        left_out = self._untold - len(self._last)
        if left_out:
            log.warning("the PKCS#11 module wrote more", module=self._module, lines=left_out)
        for text in self._last:
            self._tell(text)
        self._last.clear()
        self._untold = 0
