"""The kernel's `nbd` generic-netlink family, version 1 (include/uapi/linux/nbd-netlink.h).

Imported only where it is used: pyroute2 takes 2-3 s to import on a slow machine.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyroute2.netlink import (  # type: ignore[import-untyped]
    NETLINK_ADD_MEMBERSHIP,
    NETLINK_GENERIC,
    NLM_F_ACK,
    NLM_F_REQUEST,
    SOL_NETLINK,
    genlmsg,
    nla,
)
from pyroute2.netlink.exceptions import NetlinkError  # type: ignore[import-untyped]
from pyroute2.netlink.generic import GenericNetlinkSocket  # type: ignore[import-untyped]

from evsd.connector.errors import DeviceFailed, NotPermitted, TransportUnavailable

CONNECT, DISCONNECT, RECONFIGURE, LINK_DEAD = 1, 2, 3, 4
_MULTICAST_GROUP = "nbd_mc_group"
_LONGEST_MESSAGE = 4096  # one message of the kernel's nbd has 28 bytes


class _Message(genlmsg):  # type: ignore[misc]
    prefix = "NBD_ATTR_"
    nla_map = (
        ("NBD_ATTR_UNSPEC", "none"),
        ("NBD_ATTR_INDEX", "uint32"),
        ("NBD_ATTR_SIZE_BYTES", "uint64"),
        ("NBD_ATTR_BLOCK_SIZE_BYTES", "uint64"),
        ("NBD_ATTR_TIMEOUT", "uint64"),
        ("NBD_ATTR_SERVER_FLAGS", "uint64"),
        ("NBD_ATTR_CLIENT_FLAGS", "uint64"),
        ("NBD_ATTR_SOCKETS", "sockets"),
        ("NBD_ATTR_DEAD_CONN_TIMEOUT", "uint64"),
        ("NBD_ATTR_DEVICE_LIST", "hex"),
        ("NBD_ATTR_BACKEND_IDENTIFIER", "asciiz"),
    )

    class sockets(nla):  # type: ignore[misc]  # noqa: N801 - pyroute2 finds it by this name
        nla_map = (("NBD_SOCK_ITEM_UNSPEC", "none"), ("NBD_SOCK_ITEM", "item"))

        class item(nla):  # type: ignore[misc]  # noqa: N801 - likewise
            nla_map = (("NBD_SOCK_UNSPEC", "none"), ("NBD_SOCK_FD", "uint32"))


def socket_list(fd: int) -> dict[str, Any]:
    """The SOCKETS attribute's value for one connected socket."""
    return {"attrs": [("NBD_SOCK_ITEM", {"attrs": [("NBD_SOCK_FD", fd)]})]}


def request(command: int, **attributes: Any) -> int | None:
    """Send one command; attributes by their kernel names without the NBD_ATTR_ prefix.

    Returns the device index when the kernel tells one. Raises NotPermitted,
    TransportUnavailable (no nbd family) or DeviceFailed with the kernel's errno.
    """
    message = _Message()
    message["cmd"], message["version"] = command, 1
    message["attrs"] = [(f"NBD_ATTR_{name}", value) for name, value in attributes.items()]
    try:
        with GenericNetlinkSocket() as sock:
            sock.bind("nbd", _Message)
            flags = NLM_F_REQUEST | NLM_F_ACK
            replies = sock.nlm_request(message, msg_type=sock.prid, msg_flags=flags)
    except NetlinkError as error:
        raise _translate(error) from error
    indexes = [reply.get_attr("NBD_ATTR_INDEX") for reply in replies]
    return next((int(i) for i in indexes if i is not None), None)


@contextmanager
def dead_links() -> Iterator[Iterator[int]]:
    """Listen for servers that go; yields the index of each one's device as the kernel notices.

    What happens after the `with` was entered is told; the inner iterator ends when the kernel had
    more to tell than there was room for: the caller must listen anew and look for itself.
    """
    with GenericNetlinkSocket() as resolver:
        resolver.bind("nbd", _Message)
        group = resolver.mcast_groups[_MULTICAST_GROUP]
    # Not one of pyroute2's: 0.9.7 can neither use a socket again that overran, nor close it.
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC) as listener:
        listener.bind((0, 0))
        listener.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
        yield _deaths(listener)


def _deaths(listener: socket.socket) -> Iterator[int]:
    while True:
        try:
            message = _Message(listener.recv(_LONGEST_MESSAGE))
        except OSError as error:
            if error.errno == errno.ENOBUFS:  # it overran, see netlink(7)
                return
            raise
        message.decode()
        if message["cmd"] == LINK_DEAD:
            yield int(message.get_attr("NBD_ATTR_INDEX"))


def _translate(error: NetlinkError) -> Exception:
    if error.code in (errno.EPERM, errno.EACCES):
        return NotPermitted("the kernel lets only root make block devices", "run it as root")
    if error.code == errno.ENOENT:
        return TransportUnavailable("the kernel has no nbd", "modprobe nbd")
    return DeviceFailed(f"the kernel refused: {error}", "the kernel's log (dmesg) says why")
