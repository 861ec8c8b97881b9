"""From an NBD server's unix socket to a block device of this host, and back.

The only part of the product that needs root. It holds no keys and no state: it needs a socket
path, and finds its devices again in the kernel's own tables.
"""

from __future__ import annotations

from evsd.connector.device import Device, DeviceState, Transport, identifier_of
from evsd.connector.errors import ConnectorError, DeviceNotFlushed, WritesFailed
from evsd.connector.kernel import grows, reconnect
from evsd.connector.transport import RUN_DIR, best_transport, connect, disconnect, find, look

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
    "grows",
    "identifier_of",
    "look",
    "reconnect",
]
