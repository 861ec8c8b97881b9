"""How qemu and libvirt are told of an attached volume.

Both connect again by themselves when the volume's server was away, and wait that long with the
guest's requests. A guest whose request failed all the same is paused and not told of it: what it
asked for is done when it is resumed.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from typing import Any
from xml.sax.saxutils import quoteattr

from evsd.connector.kernel import DEAD_LINK_TIMEOUT_S

HYPERVISORS = ("qemu", "libvirt")
_SERIAL_LENGTH = 20
_PAUSED = "error_policy='stop' rerror_policy='stop'"


def described(transport: str, attachment: Mapping[str, Any], *, read_only: bool) -> str:
    """The options or the XML that a hypervisor of this name takes, for an attachment of the API."""
    data = attachment["connection_info"]["data"]
    return _FORMS[transport](data["socket"], str(attachment["volume_id"]), read_only)


def _qemu(socket: str, volume_id: str, read_only: bool) -> str:
    node = f"evs-{_serial(volume_id)}"
    blockdev = {
        "driver": "nbd",
        "node-name": node,
        "server": {"type": "unix", "path": socket},
        "reconnect-delay": DEAD_LINK_TIMEOUT_S,
        "discard": "unmap",
        "read-only": read_only,
    }
    device = f"virtio-blk-pci,drive={node},serial={_serial(volume_id)},werror=stop,rerror=stop"
    return f"-blockdev {shlex.quote(json.dumps(blockdev))} -device {device}"


def _libvirt(socket: str, volume_id: str, read_only: bool) -> str:
    lines = [
        "<disk type='network' device='disk'>",
        f"  <driver name='qemu' type='raw' discard='unmap' {_PAUSED}/>",
        "  <source protocol='nbd'>",
        f"    <host transport='unix' socket={quoteattr(socket)}/>",
        f"    <reconnect delay='{DEAD_LINK_TIMEOUT_S}'/>",
        "  </source>",
        "  <target dev='vdb' bus='virtio'/>",
        f"  <serial>{_serial(volume_id)}</serial>",
        *(["  <readonly/>"] if read_only else []),
        "</disk>",
    ]
    return "\n".join(lines)


def _serial(volume_id: str) -> str:
    """What the guest knows the volume by: as much of its id as a virtio disk has room for."""
    return volume_id[:_SERIAL_LENGTH]


_FORMS: dict[str, Callable[[str, str, bool], str]] = {"qemu": _qemu, "libvirt": _libvirt}
