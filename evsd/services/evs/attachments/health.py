"""What an attachment's server and device are like now: looked at, never recorded."""

from __future__ import annotations

import socket
from enum import StrEnum

from evsd import connector
from evsd.services.evs.attachments.states import SERVING, AttachmentStatus
from evsd.services.evs.tables import Attachment


class ServerState(StrEnum):
    """What has become of the process that serves an attachment."""

    RUNNING = "running"
    RESTARTING = "restarting"  # it has ended, and the next one is being started
    ENDING = "ending"  # until it can be ended, the volume is nobody else's


def server_state(attachment: Attachment) -> ServerState | None:
    """None where there is to be no server, or not yet."""
    if attachment.status == AttachmentStatus.DETACHING:
        return ServerState.ENDING
    if attachment.status not in SERVING:
        return None
    running = attachment.server is not None and attachment.server.running
    return ServerState.RUNNING if running else ServerState.RESTARTING


def device_state(attachment: Attachment) -> connector.DeviceState | None:
    """None where there is no device that evsctl has made on this host."""
    made = attachment.connector
    if made.get("transport") not in ("kernel", "fuse") or not made.get("mountpoint"):
        return None
    if made.get("host") != socket.gethostname():
        return None
    return connector.look(connector.identifier_of(attachment.id))
