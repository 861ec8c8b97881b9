"""Notices when a server process ends."""

from __future__ import annotations

import contextlib
import os
import selectors
import threading
from collections.abc import Callable

import structlog

from evsd.processes import Process
from evsd.resource import Resource

log = structlog.get_logger()


class Watcher(Resource):
    """One thread that waits on the pidfds of all servers, children of this evsd or of its last run.

    `on_exit(server_id, process)` is called on that thread, once for each process that ends.
    """

    def __init__(self, on_exit: Callable[[str, Process], None]) -> None:
        self._on_exit = on_exit
        self._selector = selectors.DefaultSelector()
        self._lock = threading.Lock()
        self._wake_reader, self._wake_writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._selector.register(self._wake_reader, selectors.EVENT_READ)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="server-watcher", daemon=True)

    def start(self) -> None:
        """Begin to wait."""
        self._thread.start()

    def close(self) -> None:
        """Stop waiting; the processes go on."""
        self._stopping = True
        os.write(self._wake_writer, b"x")
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            os.close(int(key.fd))
        os.close(self._wake_writer)
        self._selector.close()

    def watch(self, server_id: str, process: Process) -> None:
        """Watch a running server; one that is gone already is reported at once."""
        try:
            pidfd = os.pidfd_open(process.pid)
        except ProcessLookupError:
            self._on_exit(server_id, process)
            return
        if Process.of(process.pid) not in (process, None):  # the pid is another's by now
            os.close(pidfd)
            self._on_exit(server_id, process)
            return
        with self._lock:
            self._selector.register(pidfd, selectors.EVENT_READ, (server_id, process))

    def _run(self) -> None:
        while not self._stopping:
            for key, _ in self._selector.select():
                if key.data is not None:
                    self._ended(int(key.fd), *key.data)

    def _ended(self, pidfd: int, server_id: str, process: Process) -> None:
        with self._lock:
            self._selector.unregister(pidfd)
        with contextlib.suppress(ChildProcessError):  # one that the last evsd started
            os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        os.close(pidfd)
        try:
            self._on_exit(server_id, process)
        except Exception:
            # This thread must live as long as evsd: every other server depends on it.
            log.exception("a server's end was not dealt with", server=server_id)
