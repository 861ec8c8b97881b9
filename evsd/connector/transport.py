"""The one interface: connect, find, disconnect, whatever the transport."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path

from evsd.connector import fuse, kernel, watch
from evsd.connector.device import Device, DeviceState, Transport
from evsd.connector.errors import DeviceExists, NotPermitted, WritesFailed

RUN_DIR = Path("/run/evsd-connector")
"""Where the fuse transport mounts."""

_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def best_transport() -> Transport | None:
    """The fastest transport this host has, None if it has none."""
    if kernel.available():
        return "kernel"
    return "fuse" if fuse.available() else None


def connect(
    transport: Transport,
    socket_path: Path,
    identifier: str,
    *,
    read_only: bool = False,
    run_dir: Path = RUN_DIR,
) -> Device:
    """Make a block device of the NBD server's export.

    `identifier` ([A-Za-z0-9_.-], at most 64 characters) is how the device is found again, and the
    export name it is connected under, now and after its server's death.
    Returns when the device has its size and can be used. On any error nothing is left behind.

    Raises DeviceExists, NotPermitted, TransportUnavailable, ServerUnreachable, ServerRefused,
    ServedReadOnly, ProtocolError or DeviceFailed; ValueError for a bad identifier.
    """
    _check(identifier)
    with _exclusive(run_dir):
        if present := find(identifier, run_dir=run_dir):
            raise DeviceExists(
                f"{identifier} is connected already, as {present.path}", "disconnect it first"
            )
        _failed_writes(identifier, run_dir).unlink(missing_ok=True)  # of a device that is no more
        if transport == "kernel":
            return _connect_kernel(socket_path, identifier, read_only=read_only)
        # What a killed connect left half-made: nobody has written to it.
        fuse.disconnect(identifier, force=True, run_dir=run_dir)
        return fuse.connect(socket_path, identifier, read_only=read_only, run_dir=run_dir)


def find(identifier: str, *, run_dir: Path = RUN_DIR) -> Device | None:
    """The device of this identifier on this host, from the kernel's own tables."""
    _check(identifier)
    return kernel.find(identifier) or fuse.find(identifier, run_dir=run_dir)


def look(identifier: str, *, run_dir: Path = RUN_DIR) -> DeviceState:
    """What has become of the device of this identifier; anybody may ask."""
    _check(identifier)
    if kernel.find(identifier) is not None:
        return DeviceState.UNWATCHED if watch.find(identifier) is None else DeviceState.CONNECTED
    if fuse.find(identifier, run_dir=run_dir) is not None:
        served = fuse.served(identifier, run_dir=run_dir)
        return DeviceState.CONNECTED if served else DeviceState.DEAD
    return DeviceState.GONE


def disconnect(identifier: str, *, force: bool = False, run_dir: Path = RUN_DIR) -> str | None:
    """Flush and take away the device; when this returns it is gone and the server is let go.

    Nothing happens for an identifier that has no device. Raises DeviceBusy while the device is
    mounted, swapped on, held by another device or open; DeviceNotFlushed where that fails, with
    the device as it was, unless `force` is given: then what was not flushed is lost, and this
    returns why. Where the device has once refused a write, that is so until it is forced away.
    DeviceFailed when it would not go.
    """
    _check(identifier)
    with _exclusive(run_dir):
        failed = _failed_writes(identifier, run_dir)
        if failed.exists() and not force and find(identifier, run_dir=run_dir) is not None:
            raise WritesFailed(*failed.read_text().splitlines())
        try:
            lost = _take_away(identifier, force=force, run_dir=run_dir)
        except WritesFailed as error:
            failed.write_text(f"{error.message}\n{error.remedy}\n")
            raise
        earlier = failed.read_text().splitlines()[0] if failed.exists() else None
        failed.unlink(missing_ok=True)
        return lost or earlier


def _take_away(identifier: str, *, force: bool, run_dir: Path) -> str | None:
    lost = kernel.disconnect(identifier, force=force, watcher=watch.find(identifier))
    watch.stop(identifier)
    return fuse.disconnect(identifier, force=force, run_dir=run_dir) or lost


def _failed_writes(identifier: str, run_dir: Path) -> Path:
    """Where it is remembered that a device has refused a write, and what was said of it."""
    return run_dir / f"{identifier}.failed"


def _connect_kernel(socket_path: Path, identifier: str, *, read_only: bool) -> Device:
    watch.stop(identifier)  # of a device that somebody else took away
    device = kernel.connect(socket_path, identifier, read_only=read_only)
    try:
        watch.start(identifier, socket_path)
    except BaseException:
        kernel.disconnect(identifier, force=True)  # nobody has written to it
        raise
    return device


def _check(identifier: str) -> None:
    if not _IDENTIFIER.fullmatch(identifier):
        raise ValueError(f"bad device identifier {identifier!r}")


@contextlib.contextmanager
def _exclusive(run_dir: Path) -> Iterator[None]:
    """One change at a time: the kernel itself lets two devices have one identifier."""
    if os.geteuid() != 0:
        raise NotPermitted("only root can make block devices", "run it as root")
    run_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
    fd = os.open(run_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
