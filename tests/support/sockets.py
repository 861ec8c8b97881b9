"""Unix sockets of servers that are being started."""

from __future__ import annotations

from pathlib import Path

ACCEPTS = "00010000"  # the kernel's __SO_ACCEPTCON


def listens(path: Path) -> bool:
    """Whether somebody listens there, which is a moment after the file is there.

    Nobody connects to find that out: to a server that takes one client it would be that client.
    """
    lines = Path("/proc/net/unix").read_text().splitlines()
    sockets = (line.split(maxsplit=7) for line in lines if line.endswith(f" {path}"))
    return any(words[3] == ACCEPTS for words in sockets)
