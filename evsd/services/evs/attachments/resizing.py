"""Letting the client of an attached volume see that it is larger.

A server tells a client the size when it connects, and never again. The kernel's device bears it
that its server is started anew: its watcher connects it again, and tells it the size. FUSE does
not, nor do other clients: they see it when they connect by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from evsd.connector import DeviceState
from evsd.errors import PublishedError
from evsd.key_channel.call import Call
from evsd.services.evs.attachments.health import device_state
from evsd.services.evs.attachments.states import AttachmentStatus
from evsd.services.evs.tables import Attachment, Volume
from evsd.services.evs.volumes.servable import Servable
from evsd.serving.connected_clients import Client
from evsd.serving.control import ControlFailed
from evsd.serving.failures import ServerFailed
from evsd.serving.supervisor import ServerSupervisor

log = structlog.get_logger()

QEMU = "qemu"  # the transport, as evsctl names it
# It connects again with the guest's next request, and before that takes no larger size (7.2).
_QEMU_REMEDY = "qemu's guest sees the new size when qemu is told: block_resize"


class Resizing:
    """Tells the clients of attachments."""

    def __init__(self, servable: Servable, servers: ServerSupervisor) -> None:
        self._servable, self._servers = servable, servers

    def tell(self, call: Call, volume: Volume, attachment: Attachment) -> str:
        """Have its client see the volume's size where that can be; else what to say of it.

        Nobody else loses a connection by that, and no device a server that would not come back.
        """
        if attachment.status != AttachmentStatus.ATTACHED:
            return ""
        self._grow(volume)
        clients = self._servers.clients(attachment.id)
        if not clients:
            return ""  # who connects next sees it
        if not _rides_through(attachment, clients):
            return _later(attachment, ", ".join(str(client) for client in clients))
        try:
            self._servable.check_key(call, volume, self._servable.header(volume))
            self._servers.restart(attachment.id)
        except (PublishedError, ServerFailed) as error:
            return f"{_later(attachment, '')}: {error}"
        log.info("restarted for its new size", server=attachment.id, volume=volume.id)
        return _QEMU_REMEDY if attachment.connector.transport == QEMU else ""

    def _grow(self, volume: Volume) -> None:
        """Else a server sees the new size only when its last client has gone."""
        try:
            self._servers.grow(volume.id)
        except ControlFailed as error:  # as of a server that an earlier evsd has started
            log.info("the server goes on with its size", volume=volume.id, reason=str(error))


def _rides_through(attachment: Attachment, clients: Sequence[Client]) -> bool:
    """Whether all of them wait for their next server and connect to it.

    The kernel's device does while it has a watcher, and qemu as it was told to by evsctl.
    """
    if attachment.connector.transport == QEMU:
        return all(client.program.startswith("qemu-system") for client in clients)
    return (
        all(client.device for client in clients)
        and attachment.connector.transport == "kernel"
        and device_state(attachment) == DeviceState.CONNECTED
    )


def _later(attachment: Attachment, who: str) -> str:
    device = attachment.connector.mountpoint
    seen = f"{device} keeps its size until it is detached and attached again" if device else ""
    return seen or f"who is connected sees the new size when it connects again: {who}"
