"""Processes by more than their pid, and what ours do to themselves for safety."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import struct
from pathlib import Path

_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
_PR_SET_NO_NEW_PRIVS = 38
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_CAPABILITY_VERSION_3 = 0x20080522


def start_time(pid: int) -> int | None:
    """Clock ticks from boot to the start of `pid`, or None where it runs no more.

    Field 22 of /proc/PID/stat, see proc(5): pid and start together name one process for ever.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])


def is_running(pid: int, started: int) -> bool:
    """Whether the process that was `pid` and started then still runs."""
    return start_time(pid) == started


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
    """Become this user for good, without groups and capabilities."""
    if os.getuid() == 0 and uid != 0:
        os.setgroups([])
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
