"""What is kept of a ticket."""

from __future__ import annotations

import hashlib


def ticket_digest(ticket: str) -> str:
    """What is stored of an attachment's ticket."""
    return hashlib.sha256(ticket.encode()).hexdigest()
