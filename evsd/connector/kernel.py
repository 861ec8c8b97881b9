"""Transport `kernel`: the kernel's own NBD client, /dev/nbdN, set up over generic netlink.

A device is recognised by its backend identifier (/sys/block/nbdN/backend): no state is kept.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from evsd.connector import block, command, wait
from evsd.connector.device import Device
from evsd.connector.errors import (
    DeviceFailed,
    DeviceNotFound,
    ServedReadOnly,
    TransportUnavailable,
)
from evsd.connector.nbd import FLAG_READ_ONLY, Export, handshake

# A request in flight on a dead socket is sent again only after the request time-out; with a
# small one, recovery from a killed server measured 2-3 s, with 30 s it took that long.
REQUEST_TIMEOUT_S = 5
"""Seconds a request may take before the kernel declares the link dead."""
DEAD_LINK_TIMEOUT_S = 600
"""Seconds I/O waits for a new link before it fails."""

_READY_S = 10.0
_UNFLUSHED_REMEDY = (
    "detach again when evsd has started the volume's server again; "
    "--force detaches now and loses what was written last"
)
_RETRY_S = 0.2


def available() -> bool:
    """True when this kernel has nbd, loaded or loadable."""
    return _loaded() or command.load_module("nbd", dry_run=True)


def connect(socket_path: Path, identifier: str, *, read_only: bool) -> Device:
    """Make a /dev/nbdN of the server's export.

    Raises ConnectorError subclasses; nothing is left behind then.
    """
    _load()
    export = handshake(socket_path, identifier)
    with export.sock:
        if export.read_only and not read_only:
            raise ServedReadOnly(socket_path)
        device = _hand_over(export, identifier, read_only=read_only)
    try:
        # The first open makes the kernel read the partition table. It must happen now: on a
        # dead link it would hang, and a disconnect with it.
        if not _Probe(device.path).succeeds_within(_READY_S):
            raise DeviceFailed(
                f"nothing can be read from {device.path}", "the log of the volume's server says why"
            )
    except BaseException:
        _hang_up(device)
        _await_release(device)
        raise
    return device


def find(identifier: str) -> Device | None:
    """The connected device with this backend identifier."""
    names = (backend.parent.name for backend in Path("/sys/block").glob("nbd*/backend"))
    for name in names:
        if _identifier(name) == identifier and _connected(name):
            return Device(Path("/dev") / name, "kernel", identifier)
    return None


def disconnect(identifier: str, *, force: bool, watcher: int | None = None) -> str | None:
    """Take the device away, when nobody but its watcher uses it; nothing to do if there is none.

    Returns why data is lost, which only `force` allows; None where all was flushed. Raises
    DeviceBusy; DeviceNotFlushed; DeviceFailed when the kernel keeps it.
    """
    device = find(identifier)
    if device is None:
        return None
    with block.idle(device.path, except_pid=watcher):
        lost = block.flush(device.path, force=force, remedy=_UNFLUSHED_REMEDY)
        _hang_up(device)
    _await_release(device)
    return lost


def reconnect(identifier: str, socket_path: Path, *, timeout: float = 30.0) -> None:
    """Give a device whose server died a connection to its new server; returns when I/O moves.

    Raises DeviceNotFound, the errors of the handshake, or DeviceFailed when no I/O moved
    within `timeout` seconds.
    """
    device = find(identifier)
    if device is None:
        raise DeviceNotFound(f"{identifier} has no device", "attach it again")
    deadline = time.monotonic() + timeout
    probe = _Probe(device.path)
    # RECONFIGURE answers OK and does nothing while the kernel thinks the old link alive, so
    # OK proves nothing: only a read that comes back does.
    while time.monotonic() < deadline:
        size = _reconfigure(device, socket_path)
        if probe.succeeds_within(1.0):
            _enlarge(device, size)
            return
        time.sleep(_RETRY_S)
    raise DeviceFailed(f"{device.path} did not come back to life", "detach and attach again")


def answers(identifier: str, *, timeout: float) -> bool:
    """True when something can be read from the device within `timeout` seconds."""
    device = find(identifier)
    return device is not None and _Probe(device.path).succeeds_within(timeout)


def grows(device: Device, size: int, *, timeout: float) -> bool:
    """Whether a device has this many bytes, or gets them within `timeout` seconds."""
    return wait.until(lambda: _sectors(device.path) * 512 >= size, timeout=timeout)


@contextlib.contextmanager
def dead_links() -> Iterator[Iterator[str]]:
    """Listen for servers that go; yields the identifier of each one's device.

    About 20 ms after a kill. What happens after the `with` was entered is told; the inner
    iterator ends when something was not told: listen anew, then look at the devices. Those
    without an identifier are not ours.
    """
    from evsd.connector import netlink

    _load()
    with netlink.dead_links() as indexes:
        yield (identifier for index in indexes if (identifier := _identifier(f"nbd{index}")))


def _hand_over(export: Export, identifier: str, *, read_only: bool) -> Device:
    from evsd.connector import netlink

    index = netlink.request(
        netlink.CONNECT,
        SIZE_BYTES=export.size,
        BLOCK_SIZE_BYTES=_logical_block_size(export),
        TIMEOUT=REQUEST_TIMEOUT_S,
        DEAD_CONN_TIMEOUT=DEAD_LINK_TIMEOUT_S,
        SERVER_FLAGS=export.flags | (FLAG_READ_ONLY if read_only else 0),
        SOCKETS=netlink.socket_list(export.sock.fileno()),
        BACKEND_IDENTIFIER=identifier,
    )
    if index is None:
        raise DeviceFailed(
            "the kernel made a device and did not say which",
            f"look for {identifier} in /sys/block/nbd*/backend, and take it away: nbd-client -d",
        )
    return Device(Path(f"/dev/nbd{index}"), "kernel", identifier)


def _logical_block_size(export: Export) -> int:
    """512, which partition tables of ordinary images need, unless the server can't do it."""
    size = max(512, export.block_sizes.minimum)
    if size > mmap.PAGESIZE:
        raise TransportUnavailable(
            f"the server's minimum block size {size} is more than the kernel's page",
            "use the uri transport",
        )
    return size


def _reconfigure(device: Device, socket_path: Path) -> int:
    """Give it a connection; returns the size of what is served there, in bytes."""
    from evsd.connector import netlink

    export = handshake(socket_path, device.identifier)
    with export.sock:
        if export.read_only and not _is_read_only(device.path):
            raise ServedReadOnly(socket_path)  # its writes would fail, here they wait
        if export.size // 512 < _sectors(device.path):
            raise DeviceFailed(
                f"the server at {socket_path} serves less than {device.path} has",
                "check that it serves the same volume",
            )
        netlink.request(
            netlink.RECONFIGURE,
            INDEX=_index(device.path),
            SOCKETS=netlink.socket_list(export.sock.fileno()),
            BACKEND_IDENTIFIER=device.identifier,  # else the kernel says EINVAL
        )
    return export.size


def _enlarge(device: Device, size: int) -> None:
    """Tell the kernel that a device has become larger.

    When I/O moves again, not with the new connection: newer kernels wait then for all requests that
    are under way.
    """
    from evsd.connector import netlink

    if size // 512 > _sectors(device.path):
        netlink.request(
            netlink.RECONFIGURE,
            INDEX=_index(device.path),
            SIZE_BYTES=size,
            BACKEND_IDENTIFIER=device.identifier,
        )


def _hang_up(device: Device) -> None:
    from evsd.connector import netlink

    netlink.request(netlink.DISCONNECT, INDEX=_index(device.path))


def _await_release(device: Device) -> None:
    # Not while we hold the device: the kernel keeps the configuration for its last opener.
    if not wait.until(lambda: not _connected(device.path.name), timeout=_READY_S):
        raise DeviceFailed(f"{device.path} would not go away", "the kernel's log says why")


def _load() -> None:
    if not _loaded() and not command.load_module("nbd"):
        raise TransportUnavailable(
            "this kernel has no nbd module", "use --transport fuse, or a kernel with nbd"
        )


def _loaded() -> bool:
    return Path("/sys/module/nbd").exists()


def _identifier(name: str) -> str | None:
    try:
        return Path(f"/sys/block/{name}/backend").read_text().strip()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENODEV):  # devices vanish while we look
            raise
    return None


def _connected(name: str) -> bool:
    # The kernel shows `pid` exactly while a device has a configuration.
    return Path(f"/sys/block/{name}/pid").exists()


def _index(device: Path) -> int:
    return int(device.name.removeprefix("nbd"))


def _is_read_only(device: Path) -> bool:
    return Path(f"/sys/block/{device.name}/ro").read_text().strip() == "1"


def _sectors(device: Path) -> int:
    """Size in 512-byte sectors."""
    return int(Path(f"/sys/block/{device.name}/size").read_text())


class _Probe:
    """One read past the page cache, in a thread because it hangs as long as the link is dead."""

    def __init__(self, device: Path) -> None:
        self._device = device
        self._start()

    def succeeds_within(self, seconds: float) -> bool:
        """Whether it came back; where it failed, the next one is under way."""
        self._thread.join(seconds)
        if self._thread.is_alive():
            return False
        if not self._succeeded:  # the dead-link time-out had passed: ask again on the new link
            self._start()
        return self._succeeded

    def _start(self) -> None:
        self._succeeded = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            fd = os.open(self._device, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
            try:
                with mmap.mmap(-1, mmap.PAGESIZE) as page:
                    self._succeeded = os.preadv(fd, [page], 0) > 0
            finally:
                os.close(fd)
