"""Becoming as little as possible: another user than root where that works, without capabilities."""

from __future__ import annotations

import os
import pwd
import resource
from pathlib import Path

import structlog

import nbd_plugin
from evsd.daemon.settings import BadSettings, StateDirectory
from evsd.processes import drop_to, raise_limit

log = structlog.get_logger()


def shed(state: StateDirectory, pool: Path, user: str) -> None:
    """Give up root for `user`, if there is such a user and it can reach what evsd needs.

    A checkout under /root can't be read by anybody else: then evsd stays root, without any
    capability, and says so.
    """
    # The servers of volumes lock their memory; only root may lift the limit they inherit.
    raise_limit(resource.RLIMIT_MEMLOCK)
    raise_limit(resource.RLIMIT_NOFILE)
    uid, gid = _target(user, [Path(nbd_plugin.__file__), state.path.parent, pool.parent])
    _own(state.path, uid, gid)
    if not pool.is_relative_to(state.path):
        _own_pool(pool, uid, gid)
    drop_to(uid, gid)


def _target(user: str, needed: list[Path]) -> tuple[int, int]:
    if os.getuid() != 0:
        return os.getuid(), os.getgid()
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        log.warning("stays root without capabilities", reason=f"there is no user {user}")
        return 0, 0
    unreachable = [str(path) for path in needed if not _reachable(path, entry)]
    if unreachable:
        log.warning(
            "stays root without capabilities", reason=f"{user} can't reach {unreachable[0]}"
        )
        return 0, 0
    return entry.pw_uid, entry.pw_gid


def _reachable(path: Path, entry: pwd.struct_passwd) -> bool:
    """Whether that user can read `path`, asked of the kernel by a child that has become it."""
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
        os._exit(0 if os.access(path, os.X_OK if path.is_dir() else os.R_OK) else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _own(directory: Path, uid: int, gid: int) -> None:
    """Hand the state directory over, with all in it when it was another user's until now."""
    if os.getuid() != 0 or directory.stat().st_uid == uid:
        return
    for path in [directory, *directory.rglob("*")]:
        os.chown(path, uid, gid, follow_symlinks=False)


def _own_pool(pool: Path, uid: int, gid: int) -> None:
    """Hand an empty pool over; what is in a pool elsewhere is its administrator's to hand over."""
    if os.getuid() != 0 or pool.stat().st_uid == uid:
        return
    if any(pool.iterdir()):
        raise BadSettings(f"pool {pool} belongs to another user: chown -R {uid}:{gid} {pool}")
    os.chown(pool, uid, gid)
