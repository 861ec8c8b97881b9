"""What an attachment's server and device are like now: looked at, never recorded."""

from __future__ import annotations

from enum import StrEnum

from evsd import connector
from evsd.host import host_name
from evsd.services.evs.attachments.states import SERVING, AttachmentStatus
from evsd.services.evs.tables import Attachment
from evsd.serving.supervisor import ServerSupervisor


class ServerState(StrEnum):
    """What has become of the process that serves an attachment."""

    RUNNING = "running"
    RESTARTING = "restarting"  # it has ended, and the next one is being started
    ENDING = "ending"  # until it can be ended, the volume is nobody else's


def server_state(attachment: Attachment, servers: ServerSupervisor) -> ServerState | None:
    """None where there is to be no server, or not yet."""
    if attachment.status == AttachmentStatus.DETACHING:
        return ServerState.ENDING
    if attachment.status not in SERVING:
        return None
    return ServerState.RUNNING if servers.runs(attachment.id) else ServerState.RESTARTING


def device_state(attachment: Attachment) -> connector.DeviceState | None:
    """None where there is no device that evsctl has made on this host."""
    made = attachment.connector
    if not made.wants_device or not made.mountpoint or made.host != host_name():
        return None
    return connector.look(connector.identifier_of(attachment.id))
