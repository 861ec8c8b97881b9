"""NBD's fixed-newstyle handshake in user space, up to the point where the kernel can take over.

    server: NBDMAGIC IHAVEOPT flags
    client: flags IHAVEOPT OPT_GO length {name length, name, count, INFO_BLOCK_SIZE}
    server: REP_INFO export {size, flags}, REP_INFO block size {min, preferred, max}, REP_ACK

Structured replies are not negotiated: the kernel's client (6.1) knows only simple ones.
"""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from evsd.connector.errors import ConnectorError, ProtocolError, ServerRefused, ServerUnreachable

FLAG_READ_ONLY = 1 << 1
"""Transmission flag: the export can't be written."""

_GREETING = struct.Struct(">8s8sH")
_REQUEST = struct.Struct(">8sII")
_REPLY = struct.Struct(">QIII")
_EXPORT = struct.Struct(">HQH")
_BLOCK_SIZE = struct.Struct(">HIII")
_INFO = struct.Struct(">H")

_MAGIC, _OPTION_MAGIC, _REPLY_MAGIC = b"NBDMAGIC", b"IHAVEOPT", 0x3E889045565A9
_FIXED_NEWSTYLE, _NO_ZEROES = 1, 2
_OPT_GO = 7
_REP_ACK, _REP_INFO, _REP_ERROR = 1, 3, 1 << 31
_INFO_EXPORT, _INFO_BLOCK_SIZE = 0, 3
_HAS_FLAGS = 1

# The protocol limits its strings to 4096 bytes; nothing OPT_GO answers is longer.
_MAX_PAYLOAD = 4096 + 64
_MAX_REPLIES = 64
_MAX_SIZE = (1 << 63) - 1

_ERROR_NAMES = {
    1: "the option is not supported",
    2: "forbidden by the server's policy",
    3: "invalid request",
    4: "not supported on the server's platform",
    5: "TLS is required",
    6: "the export is not available",
    7: "the server is shutting down",
    8: "block sizes must be asked for",
    9: "the request is too big",
}


@dataclass(frozen=True)
class BlockSizes:
    """What the server asks of its clients' requests, in bytes."""

    minimum: int
    preferred: int
    maximum: int


UNSTATED = BlockSizes(minimum=1, preferred=4096, maximum=32 << 20)
"""The protocol's defaults for a server that states no block sizes."""


@dataclass(frozen=True)
class Export:
    """A socket in transmission phase and what is behind it."""

    sock: socket.socket
    size: int
    """Bytes."""
    flags: int
    """Transmission flags, as the server sent them."""
    block_sizes: BlockSizes

    @property
    def read_only(self) -> bool:
        """True when the server takes no writes, at least on this connection."""
        return bool(self.flags & FLAG_READ_ONLY)


def handshake(socket_path: Path, name: str = "", *, timeout: float = 10.0) -> Export:
    """Connect to the unix socket and negotiate the export of this name, by default the nameless.

    `timeout` bounds the whole handshake, in seconds. The caller owns the returned socket, which
    is blocking and has nothing unread.

    Raises ServerUnreachable (nobody there, silent, hung up), ServerRefused (the server said no)
    or ProtocolError (what it said is not NBD).
    """
    wire = _Wire(socket_path, time.monotonic() + timeout)
    try:
        size, flags, block_sizes = _negotiate(wire, name.encode())
    except BaseException:
        wire.sock.close()
        raise
    wire.sock.settimeout(None)
    return Export(wire.sock, size, flags, block_sizes)


class _Wire:
    """A unix socket with one deadline over all that is sent and received."""

    def __init__(self, path: Path, deadline: float) -> None:
        self.path, self.deadline = path, deadline
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._arm()
            self.sock.connect(str(path))
        except OSError as error:
            self.sock.close()
            self._unreachable(error)

    def send(self, data: bytes) -> None:
        """All of it, by the deadline."""
        try:
            self._arm()
            self.sock.sendall(data)
        except OSError as error:
            self._unreachable(error)

    def receive(self, length: int) -> bytes:
        """Exactly `length` bytes."""
        data = bytearray()
        while len(data) < length:
            try:
                self._arm()
                chunk = self.sock.recv(length - len(data))
            except OSError as error:
                self._unreachable(error)
            if not chunk:
                self._unreachable("it closed the connection")
            data += chunk
        return bytes(data)

    def _arm(self) -> None:
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("no answer in time")
        self.sock.settimeout(remaining)

    def _unreachable(self, reason: object) -> NoReturn:
        if isinstance(reason, TimeoutError):
            reason = "no answer in time"
        raise ServerUnreachable(
            f"the NBD server at {self.path} can't be reached: {reason}",
            "check that the volume is attached and its server is running",
        )


def _negotiate(wire: _Wire, name: bytes) -> tuple[int, int, BlockSizes]:
    _greet(wire)
    query = struct.pack(">I", len(name)) + name + struct.pack(">HH", 1, _INFO_BLOCK_SIZE)
    wire.send(_REQUEST.pack(_OPTION_MAGIC, _OPT_GO, len(query)) + query)
    export: tuple[int, int] | None = None
    block_sizes = UNSTATED
    for _ in range(_MAX_REPLIES):
        kind, payload = _reply(wire)
        if kind == _REP_ACK:
            if export is None:
                raise _broken("it named no export")
            return *export, block_sizes
        if kind != _REP_INFO:
            raise _broken(f"unexpected reply {kind}")
        match _info(payload):
            case BlockSizes() as stated:
                block_sizes = stated
            case (size, flags):
                export = size, flags
    raise _broken("its answer has no end")


def _greet(wire: _Wire) -> None:
    magic, option_magic, flags = _GREETING.unpack(wire.receive(_GREETING.size))
    if (magic, option_magic) != (_MAGIC, _OPTION_MAGIC) or not flags & _FIXED_NEWSTYLE:
        raise _broken("its greeting is not fixed-newstyle NBD")
    wire.send(struct.pack(">I", flags & (_FIXED_NEWSTYLE | _NO_ZEROES)))


def _reply(wire: _Wire) -> tuple[int, bytes]:
    magic, option, kind, length = _REPLY.unpack(wire.receive(_REPLY.size))
    if magic != _REPLY_MAGIC or option != _OPT_GO:
        raise _broken("it answered a question that was not asked")
    if length > _MAX_PAYLOAD:
        raise _broken(f"an answer of {length} bytes")
    payload = wire.receive(length)
    if kind & _REP_ERROR:
        raise _refusal(kind & ~_REP_ERROR, payload)
    return kind, payload


def _info(payload: bytes) -> tuple[int, int] | BlockSizes | None:
    if len(payload) < _INFO.size:
        raise _broken("an information reply without a type")
    (kind,) = _INFO.unpack_from(payload)
    if kind == _INFO_EXPORT:
        return _export(payload)
    if kind == _INFO_BLOCK_SIZE:
        return _block_sizes(payload)
    return None  # servers may tell more than was asked


def _export(payload: bytes) -> tuple[int, int]:
    if len(payload) != _EXPORT.size:
        raise _broken("an export description of the wrong length")
    _, size, flags = _EXPORT.unpack(payload)
    if not 0 < size <= _MAX_SIZE:
        raise _broken(f"an export of {size} bytes")
    if not flags & _HAS_FLAGS:
        raise _broken("transmission flags without the mandatory bit")
    return size, flags


def _block_sizes(payload: bytes) -> BlockSizes:
    if len(payload) != _BLOCK_SIZE.size:
        raise _broken("block sizes of the wrong length")
    _, minimum, preferred, maximum = _BLOCK_SIZE.unpack(payload)
    if minimum.bit_count() != 1 or minimum > 65536 or maximum < minimum:
        raise _broken(f"impossible block sizes {minimum}/{preferred}/{maximum}")
    return BlockSizes(minimum, preferred, maximum)


def _refusal(code: int, payload: bytes) -> ConnectorError:
    # The text ends up on a terminal: no control characters from the other side.
    text = "".join(c if c.isprintable() else " " for c in payload.decode("utf-8", "replace"))
    reason = text.strip() or _ERROR_NAMES.get(code, f"error {code}")
    return ServerRefused(
        f"the NBD server refused: {reason}", "the log of the volume's server says why"
    )


def _broken(what: str) -> ProtocolError:
    return ProtocolError(
        f"the NBD server broke the protocol: {what}",
        "check that the socket belongs to the volume's server",
    )
