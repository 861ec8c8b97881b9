"""Doing again what has failed: starting a server, or ending it."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable

import structlog

from evsd.resource import Resource
from evsd.serving.failures import ServerFailed

# What fails is tried again, the later the oftener that was in this window.
WINDOW_S, FIRST_PAUSE_S, LONGEST_PAUSE_S = 300.0, 0.1, 30.0

log = structlog.get_logger()


class Retries(Resource):
    """One thread for each server on which something is left to do; it tries until it is done.

    `left(server_id)` says whether it is; `attempt(server_id)` does it, or raises. What is
    true counts, not what was reported: nothing is lost by a report that comes twice, late, or in
    the middle. `begins` and `fails` are what the log says of an attempt.
    """

    def __init__(
        self,
        left: Callable[[str], bool],
        attempt: Callable[[str], object],
        *,
        begins: str,
        fails: str,
    ) -> None:
        self._left, self._attempt = left, attempt
        self._begins, self._fails = begins, fails
        self._lock = threading.Lock()
        self._under_way: set[str] = set()
        self._times: defaultdict[str, deque[float]] = defaultdict(deque)
        self._stopping = threading.Event()

    def close(self) -> None:
        """Begin no attempt any more; one that is under way is the next run of evsd's to judge."""
        self._stopping.set()

    def begin(self, server_id: str) -> None:
        """See to it, on a thread of its own, that nothing is left to do."""
        with self._lock:
            if server_id in self._under_way:
                return
            self._under_way.add(server_id)
        name = f"retry-{server_id}"
        threading.Thread(target=self._run, args=(server_id,), name=name, daemon=True).start()

    def forget(self, server_id: str) -> None:
        """It is no more."""
        self._times.pop(server_id, None)

    def _run(self, server_id: str) -> None:
        while not self._settled(server_id):
            if self._stopping.wait(self._pause(server_id)):
                return
            log.error(self._begins, server=server_id)
            try:
                self._attempt(server_id)
            except ServerFailed as error:
                log.error(self._fails, server=server_id, reason=str(error))
            except Exception:
                log.exception(self._fails, server=server_id)

    def _settled(self, server_id: str) -> bool:
        """Whether nothing is left to do; then, in the same moment, this thread is no more."""
        with self._lock:
            try:
                left = self._left(server_id)
            except Exception:
                log.exception("not known what is left to do", server=server_id)
                left = True  # `attempt` asks again, after the pause
            if not left:
                self._under_way.discard(server_id)
            return not left

    def _pause(self, server_id: str) -> float:
        """Nothing before the first attempt, more the more there were in the last minutes."""
        now, times = time.monotonic(), self._times[server_id]
        while times and times[0] < now - WINDOW_S:
            times.popleft()
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** len(times)) if times else 0
        times.append(now)
        return pause
