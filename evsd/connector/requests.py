"""NBD's requests and simple replies, as those that need no device send them."""

from __future__ import annotations

import os
import struct

from evsd.connector.nbd import Export

READ, WRITE, DISCONNECT, FLUSH, WRITE_ZEROES = 0, 1, 2, 3, 6
# Of 4 MiB, so that whoever wants to stop is heard often.
REQUEST_LENGTH = 4 << 20
REPLY_TIMEOUT_S = 120.0

_REQUEST = struct.Struct(">IHHQQI")
_REPLY = struct.Struct(">IIQ")
_REQUEST_MAGIC, _REPLY_MAGIC = 0x25609513, 0x67446698
_NO_HOLE = 1 << 1


def send(
    export: Export, command: int, offset: int = 0, length: int = 0, data: bytes = b""
) -> None:  # fmt: skip
    """One request; zeros are written, not punched."""
    flags = _NO_HOLE if command == WRITE_ZEROES else 0
    # The cookie, which comes back with the reply, is the length: all that is asked of a reply.
    request = _REQUEST.pack(_REQUEST_MAGIC, flags, command, length, offset, length)
    export.sock.sendall(request + data)


def receive(export: Export) -> int:
    """The next reply: the length of what was asked for. Raises OSError with what went wrong."""
    magic, error, length = _REPLY.unpack(receive_data(export, _REPLY.size))
    if magic != _REPLY_MAGIC:
        raise ConnectionError("the volume's server broke the protocol")
    if error:
        raise OSError(error, os.strerror(error))
    return int(length)


def receive_data(export: Export, length: int) -> bytes:
    """So many bytes, as they follow the reply to a read."""
    data = bytearray()
    while len(data) < length:
        part = export.sock.recv(length - len(data))
        if not part:
            raise ConnectionResetError("the volume's server has ended")
        data += part
    return bytes(data)
