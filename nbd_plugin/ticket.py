"""The ticket: what gives this server the right to a key, handed over on a pipe."""

from __future__ import annotations

import os

from nbd_plugin.errors import ServerError

TICKET_LIMIT = 4096


def read(number: str) -> str:
    """From the descriptor of this number; raises `ServerError`."""
    try:
        fd = int(number)
        with os.fdopen(fd, "rb", buffering=0) as pipe:
            ticket = b""
            while part := pipe.read(TICKET_LIMIT):
                ticket += part
                if len(ticket) > TICKET_LIMIT:
                    raise ServerError("the ticket is too long")
    except (ValueError, OSError):
        raise ServerError(f"ticket_fd={number} can't be read") from None
    if not ticket:
        raise ServerError("there was no ticket in ticket_fd: whoever started this is gone")
    try:
        return bytes.fromhex(ticket.decode()).hex()
    except ValueError:
        raise ServerError("the ticket is not hexadecimal") from None
