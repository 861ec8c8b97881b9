"""Keeps one kernel device alive: when its server dies, connects it to the next one.

`connect` starts one such process per device, `disconnect` ends it. Without it a server that was
killed, or merely stalled for longer than the kernel's request time-out, would leave the device
without a link for ever. It tells syslog what happens.

    python -m evsd.connector.revive IDENTIFIER SOCKET
"""

from __future__ import annotations

import contextlib
import sys
import syslog
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from evsd.connector import kernel
from evsd.connector.errors import ConnectorError

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 30.0
# Reconnecting a living device is harmless, so a slow one need not be waited for.
_PROBE_S = 1.0
_LOOK_S = 5.0


def main() -> None:
    """Watch until the device is gone; an end before that is an error, and told as one."""
    identifier, socket_path = sys.argv[1], Path(sys.argv[2])
    # NDELAY: it must have its socket when there are no descriptors left, too.
    options = syslog.LOG_PID | syslog.LOG_NDELAY
    syslog.openlog("evsd-connector", options, syslog.LOG_DAEMON)
    thread = threading.Thread(target=_watch, args=(identifier, socket_path), daemon=True)
    thread.start()
    # Somebody else may take the device away (nbd-client -d): the kernel has no event for that.
    with _last_words(identifier):
        while kernel.find(identifier) is not None:
            thread.join(_LOOK_S)
            if not thread.is_alive():
                sys.exit(1)


def _watch(identifier: str, socket_path: Path) -> None:
    with _last_words(identifier):
        watch(identifier, socket_path)


@contextlib.contextmanager
def _last_words(identifier: str) -> Iterator[None]:
    """Tell what keeps us from going on: nobody would hear of it otherwise."""
    try:
        yield
    except Exception as error:
        syslog.syslog(
            syslog.LOG_ERR,
            f"{identifier}: its watcher ends: {error!r}; when its server dies the device will not "
            "be connected again: detach and attach it",
        )
        raise


def watch(identifier: str, socket_path: Path) -> None:
    """Revive the device whenever the kernel loses its server; endless."""
    while True:
        with kernel.dead_links() as deaths:
            # What died before we listened, or was told when there was no room, is not told again.
            if not kernel.answers(identifier, timeout=_PROBE_S):
                revive(identifier, socket_path)
            for dead in deaths:
                if dead == identifier:
                    revive(identifier, socket_path)
        syslog.syslog(syslog.LOG_WARNING, f"{identifier}: messages of the kernel were lost")


def revive(identifier: str, socket_path: Path) -> None:
    """Try until I/O moves or the device is gone; also after I/O has begun to fail.

    The pauses grow: every attempt on a key that may not be used is a record in the audit log.
    """
    syslog.syslog(syslog.LOG_WARNING, f"{identifier}: lost the server at {socket_path}")
    pause = _FIRST_PAUSE
    while kernel.find(identifier) is not None:
        try:
            kernel.reconnect(identifier, socket_path)
        except (ConnectorError, OSError) as error:
            syslog.syslog(syslog.LOG_WARNING, f"{identifier}: {error}")
        else:
            syslog.syslog(syslog.LOG_NOTICE, f"{identifier}: reconnected")
            return
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


if __name__ == "__main__":
    main()
