"""Who uses an attached volume, and whether they are leaving."""

from __future__ import annotations

import time

from evsd import connector
from evsd.services.evs.errors import VolumeInUse
from evsd.services.evs.tables import Attachment
from evsd.serving.connected_clients import DEVICE, Client
from evsd.serving.supervisor import ServerSupervisor

# A client that runs stays, and is told from one whose connection is being closed by not going away.
# Of one that has ended, or whose device has gone, that is all there is to wait for.
STAYING_S, LEAVING_S, LOOK_S = 3.0, 20.0, 0.05


def users(attachment: Attachment, servers: ServerSupervisor) -> list[Client]:
    """Who is connected, or will be again: a device may wait for its next server."""
    found = servers.clients(attachment.id)
    return found or ([DEVICE] if _has_device(attachment) else [])


def await_no_users(attachment: Attachment, name: str, servers: ServerSupervisor) -> None:
    """Wait for those that are leaving; raises `VolumeInUse`, by its `name`, where one is not."""
    start = time.monotonic()
    while found := users(attachment, servers):
        stays = any(_stays(attachment, client) for client in found)
        if time.monotonic() - start > (STAYING_S if stays else LEAVING_S):
            raise VolumeInUse(name=name, clients="; ".join(str(client) for client in found))
        time.sleep(LOOK_S)


def _stays(attachment: Attachment, client: Client) -> bool:
    """Whether a client is there yet, and not only its connection."""
    return bool(client.program) or (client.device and _has_device(attachment))


def _has_device(attachment: Attachment) -> bool:
    """Whether it is there on this host, whatever has become of its server."""
    return connector.find(connector.identifier_of(attachment.id)) is not None
