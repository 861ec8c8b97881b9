"""From an NBD server's unix socket to a block device of this host, and back.

The only part of the product that needs root. It holds no keys and no state: it needs a socket
path, and finds its devices again in the kernel's own tables.
"""

from __future__ import annotations

from .device import Device, DeviceState, Transport, identifier_of
from .errors import ConnectorError, DeviceNotFlushed, WritesFailed
from .kernel import reconnect
from .transport import RUN_DIR, best_transport, connect, disconnect, find, look

__all__ = [
    "RUN_DIR",
    "ConnectorError",
    "Device",
    "DeviceNotFlushed",
    "DeviceState",
    "Transport",
    "WritesFailed",
    "best_transport",
    "connect",
    "disconnect",
    "find",
    "identifier_of",
    "look",
    "reconnect",
]
