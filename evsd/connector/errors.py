"""What can go wrong between a host and the device it wants."""

from __future__ import annotations

from pathlib import Path


class ConnectorError(Exception):
    """A device could not be made, found or taken away.

    `message` says what happened, `remedy` what the reader can do about it ("" if nothing).
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        self.message = message
        self.remedy = remedy
        super().__init__(f"{message}; {remedy}" if remedy else message)


class NotPermitted(ConnectorError):
    """The caller may not make block devices; only root may."""


class TransportUnavailable(ConnectorError):
    """The host lacks the kernel module or the programs of the transport."""


class ServerUnreachable(ConnectorError):
    """Nothing answers on the socket, or it stopped answering half-way."""


class ServerRefused(ConnectorError):
    """The NBD server answered and said no; the message carries the server's words."""


class ServedReadOnly(ServerRefused):
    """The server lets this connection only read, and it is to write: another client does."""

    def __init__(self, socket_path: Path) -> None:
        super().__init__(
            f"the server at {socket_path} takes no writes from here: somebody else has the volume "
            "for writing",
            "stop that first",
        )


class ProtocolError(ConnectorError):
    """What answers on the socket does not speak NBD correctly."""


class DeviceExists(ConnectorError):
    """The identifier has a device already."""


class DeviceNotFound(ConnectorError):
    """The identifier has no device."""


class DeviceBusy(ConnectorError):
    """The block device is in use; taking it away would lose data."""


class DeviceNotFlushed(ConnectorError):
    """What was written last is not with the server yet; taking the device away would lose it."""


class WritesFailed(DeviceNotFlushed):
    """The device has refused some of what was written, which the kernel then gives up.

    It tells of that once: later flushes succeed, without what was refused.
    """


class DeviceFailed(ConnectorError):
    """The kernel or nbdfuse would not make, revive or remove the device."""
