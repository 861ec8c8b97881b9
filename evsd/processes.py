"""Processes by more than their pid, and what ours do to themselves for safety."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import resource
import struct
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
_PR_SET_NO_NEW_PRIVS = 38
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_CAPABILITY_VERSION_3 = 0x20080522


@dataclass(frozen=True, slots=True)
class Process:
    """One process, named for ever: pids are used again, and after each boot ticks are too.

    `started` is in clock ticks from the boot `boot` on.
    """

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """Which process has this pid; None where it runs no more."""
        started = _start_time(pid)
        return None if started is None else cls(pid, started, boot_id())

    @property
    def running(self) -> bool:
        """Whether it still runs, or a thread of it that can't be ended."""
        return Process.of(self.pid) == self

    @property
    def works(self) -> bool:
        """Whether it runs and was not killed: of one that was, only threads may be left."""
        stat = _stat(self.pid)
        return self.running and stat is not None and stat[0] not in ("Z", "X")


@cache
def boot_id() -> str:
    """What tells this boot of the machine from all others, see random(4)."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _start_time(pid: int) -> int | None:
    """Clock ticks from boot to the start of `pid`, or None where it runs no more.

    Field 22 of /proc/PID/stat, see proc(5). A process runs as long as any of its threads does: a
    thread in a disk's hands survives even SIGKILL, and holds the files and locks of the whole
    process, of which the rest is a zombie by then.
    """
    fields = _stat(pid)
    if fields is None:
        return None
    state, threads, started = fields[0], int(fields[17]), int(fields[19])
    return None if state in ("Z", "X") and threads <= 1 else started


class Progress:
    """Whether a process works while it is waited for: slow is not hung, on however busy a machine.

    It is believed for `most_s` seconds, for what hangs may also turn in circles.
    """

    def __init__(self, most_s: float) -> None:
        self._deadline = time.monotonic() + most_s
        self._seen: tuple[int, float] | None = None

    def made_by(self, pid: int) -> bool:
        """Whether it has used the processor since the last call, or is another than then."""
        before, self._seen = self._seen, (pid, _processor_s(pid))
        return self._seen != before and time.monotonic() < self._deadline


def _processor_s(pid: int) -> float:
    fields = _stat(pid)
    return 0 if fields is None else (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third on, the state; None where there is no process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def executable(pid: int) -> Path:
    """The program a process runs.

    Raises FileNotFoundError where it has ended, PermissionError where it may not be looked at: it
    has capabilities that this process lacks, or is not dumpable.
    """
    link = Path(f"/proc/{pid}/exe").readlink()
    return Path(str(link).removesuffix(" (deleted)"))  # its package was upgraded


def has_capabilities(pid: int) -> bool:
    """Whether a process may do anything that its user may not."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("CapPrm:")[2].split(maxsplit=1)[0], 16) != 0


def harden(name: str) -> None:
    """No core dumps, no ptrace by the same user, no new privileges by exec."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_DUMPABLE, 0)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _libc().prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)


def lock_memory() -> None:
    """Keep every page of this process out of swap; raises OSError where the limit is too low."""
    if _libc().mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) != 0:
        raise OSError(ctypes.get_errno(), "mlockall refused, raise LimitMEMLOCK")


def drop_to(uid: int, gid: int) -> None:
    """Become this user for good, without capabilities.

    In its own groups: access to a token's files and daemon is given to a group.
    """
    if os.getuid() == 0 and uid != 0:
        os.setgroups(os.getgrouplist(pwd.getpwuid(uid).pw_name, gid))
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    drop_capabilities()


def drop_capabilities() -> None:
    """Give up every capability, as root too."""
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    if _libc().capset(header, bytes(24)) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def raise_limit(limit: int) -> None:
    """Lift a resource limit as far as this process may."""
    _, hard = resource.getrlimit(limit)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(limit, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        return
    resource.setrlimit(limit, (hard, hard))


def _prctl(option: int, value: int) -> None:
    if _libc().prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
