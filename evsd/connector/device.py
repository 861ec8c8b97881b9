"""What a connect makes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

Transport = Literal["kernel", "fuse"]


@dataclass(frozen=True)
class Device:
    """A block device of this host that reaches an NBD server."""

    path: Path
    transport: Transport
    identifier: str


def identifier_of(attachment_id: str) -> str:
    """How the device of an attachment is recognised on its host."""
    return f"evsd-{attachment_id}"


class DeviceState(StrEnum):
    """What has become of a device."""

    CONNECTED = "connected"
    UNWATCHED = "unwatched"  # good as long as its server is: its watcher has ended
    DEAD = "dead"  # nbdfuse has ended, at the first I/O after its server: all of it fails
    GONE = "gone"  # after a reboot, or somebody else took it away
