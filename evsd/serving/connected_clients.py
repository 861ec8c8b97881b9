"""Who is connected to a volume's server: what it reports, and what the kernel knows of them."""

from __future__ import annotations

import json
import os
import pwd
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from evsd.processes import Process
from evsd.store.database import utcnow

REPORT_LIMIT = 1024 * 1024
# A report is written in one piece; this is for reading one while it is.
READ_TRIES, READ_PAUSE_S = 20, 0.01
_CONNECTED = "03"  # SS_CONNECTED, linux/net.h
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Client:
    """One connection. `pid` and `uid` are None where nobody knows them.

    `program` is empty for a process that has ended, which may have left its connection to another.
    """

    pid: int | None
    uid: int | None
    program: str
    device: bool
    writes: bool
    since: datetime | None

    @property
    def user(self) -> str:
        """The name of its Unix user, or its number."""
        return "" if self.uid is None else user_name(self.uid)

    def __str__(self) -> str:
        since = f", connected since {self.since:%Y-%m-%d %H:%M:%S} UTC" if self.since else ""
        return f"{self._name()}{since}, {'writing' if self.writes else 'reading only'}"

    def _name(self) -> str:
        if self.device:
            return "this host's device"
        if self.pid is None:
            by = f" of user {self.user}" if self.user else ""
            return f"a process{by} that can't be seen from here"
        ended = "" if self.program else ", which has ended and left its connection to others"
        return f"{self.program or 'a program'} (process {self.pid} of user {self.user}{ended})"


def user_name(uid: int) -> str:
    """As the system calls a user; the number of one it does not know."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def reported(report: Path) -> list[Client]:
    """The clients in a running server's report, longest connected first.

    What is no report counts for a client that can't be told: a server speaks to clients in C, and
    may have been taken over by one.
    """
    for _ in range(READ_TRIES):
        text = _read(report)
        try:
            if text == _read(report):
                return [_client(entry) for entry in json.loads(text)["clients"]] if text else []
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            pass
        time.sleep(READ_PAUSE_S)
    return [UNKNOWN]


def of_older_server(socket: Path) -> list[Client]:
    """The clients of a server that an earlier evsd has started: it reports none, only their number
    is known.
    """
    lines = Path("/proc/net/unix").read_text(errors="replace").splitlines()
    ends = [line.split(maxsplit=7) for line in lines]
    return [UNKNOWN for end in ends if end[5] == _CONNECTED and end[7:] == [str(socket)]]


DEVICE = Client(pid=None, uid=None, program="", device=True, writes=True, since=None)
UNKNOWN = Client(pid=None, uid=None, program="", device=False, writes=True, since=None)


def _read(report: Path) -> bytes:
    with report.open("rb") as file:
        return file.read(REPORT_LIMIT)


def _client(entry: dict[str, Any]) -> Client:
    pid, uid, since_ms = (int(entry[name]) for name in ("pid", "uid", "since"))
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - since_ms / 1000
    return Client(
        pid=pid if pid > 0 else None,
        uid=uid if 0 <= uid < 2**32 - 1 else None,
        program=_program(pid, since_ms / 1000) if pid > 0 else "",
        device=bool(entry["device"]),
        writes=bool(entry["writes"]),
        since=utcnow() - timedelta(seconds=max(age, 0)),
    )


def _program(pid: int, connected: float) -> str:
    """What a process is called that ran when it connected, in seconds after boot."""
    process = Process.of(pid)
    if process is None or process.started / _TICKS > connected + 1:
        return ""
    try:
        name = Path(f"/proc/{pid}/comm").read_text(errors="replace")
    except OSError:
        return ""
    return "".join(c if c.isprintable() else "?" for c in name.rstrip("\n")) or "?"
