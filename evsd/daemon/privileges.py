"""Becoming as little as possible: another user than root where that works, without capabilities."""

from __future__ import annotations

import os
import pwd
import resource
import subprocess
import sys
from pathlib import Path

import structlog

import nbd_plugin
from evsd.daemon.settings import BadSettings, StateDirectory
from evsd.processes import drop_to, raise_limit

DEFAULT_USER = "evsd"

log = structlog.get_logger()


def drop(state: StateDirectory, pool: Path, user: str | None) -> None:
    """Give up root for the `user` of the settings, or for evsd's own; raises `BadSettings`.

    A checkout under /root can't be read by anybody else: where the settings name nobody, evsd
    then stays root, without any capability, and says so.
    """
    # The servers of volumes lock their memory; only root may lift the limit they inherit.
    raise_limit(resource.RLIMIT_MEMLOCK)
    raise_limit(resource.RLIMIT_NOFILE)
    entry = _target(user, [Path(nbd_plugin.__file__), Path(sys.executable), state.path, pool])
    _own(state, entry)
    if not pool.is_relative_to(state.path):
        _own_pool(pool, entry)
    drop_to(entry.pw_uid, entry.pw_gid)


def _target(user: str | None, needed: list[Path]) -> pwd.struct_passwd:
    """Who to become; `needed` is what that user must be able to reach."""
    uid = os.getuid()
    if uid != 0:
        return _starter(user, uid)
    entry = _entry(user or DEFAULT_USER, asked=user is not None)
    unreachable = next((path for path in needed if not _reachable(path, entry)), None)
    if unreachable is None:
        return entry
    reason = f"{entry.pw_name} can't reach {unreachable}"
    if user is not None:
        raise BadSettings(
            f'user = "{user}": {reason}: open the way to it, or name another user; "root" stays '
            "root without capabilities"
        )
    log.warning("stays root without capabilities", reason=reason)
    return pwd.getpwuid(0)


def _starter(user: str | None, uid: int) -> pwd.struct_passwd:
    """Who started evsd, where that is not root."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:  # as in a container with a uid of its own
        entry = pwd.struct_passwd((str(uid), "x", uid, os.getgid(), "", "/", ""))
    if user is not None and _entry(user, asked=True).pw_uid != uid:
        raise BadSettings(
            f'user = "{user}": evsd was started by {entry.pw_name}, and only root can become '
            f"another user: start it as root or as {user}, or take the setting out"
        )
    return entry


def _entry(user: str, *, asked: bool) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except (KeyError, ValueError) as error:
        what = f'user = "{user}": there is no such Unix user'
        if not asked:
            what = f'there is no Unix user {user}, whom evsd becomes; or set user = "root", to stay'
        raise BadSettings(
            f"{what}; adduser --system --group --no-create-home {user} makes it"
        ) from error


def _reachable(path: Path, entry: pwd.struct_passwd) -> bool:
    """Whether that user can read `path`, or go to what is there for it to own.

    The kernel is asked, by a program that has become that user and does nothing else.
    """
    question = ["-r", str(path)] if path.is_file() else ["-x", str(path.parent)]
    asked = subprocess.run(  # noqa: S603
        ["/usr/bin/test", *question],
        user=entry.pw_uid,
        group=entry.pw_gid,
        extra_groups=[],
        check=False,
    )
    return asked.returncode == 0


def _own(state: StateDirectory, entry: pwd.struct_passwd) -> None:
    """Hand the state directory over, with all in it when it was another user's until now.

    In one that is that user's already, as an administrator makes them, what root has just made.
    """
    uid, gid = entry.pw_uid, entry.pw_gid
    if os.getuid() != 0:
        return
    made = [state.lock, state.servers, state.pool]
    there = [state.path, *state.path.rglob("*")] if state.path.stat().st_uid != uid else made
    for path in (*there, state.database_lock):
        if path.exists():  # the pool may be elsewhere
            os.chown(path, uid, gid, follow_symlinks=False)


def _own_pool(pool: Path, entry: pwd.struct_passwd) -> None:
    """Hand an empty pool over; what is in a pool elsewhere is its administrator's to hand over."""
    uid, gid = entry.pw_uid, entry.pw_gid
    if os.getuid() != 0 or pool.stat().st_uid == uid:
        return
    if any(pool.iterdir()):
        raise BadSettings(f"pool {pool} belongs to another user: chown -R {uid}:{gid} {pool}")
    os.chown(pool, uid, gid)
