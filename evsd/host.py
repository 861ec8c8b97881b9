"""The host that evsd runs on: what its records call it, and what people do."""

from __future__ import annotations

import os
import re
import socket
import uuid
from pathlib import Path

from evsd.durable import sync

_ID = re.compile(r"[0-9a-f]{32}")


def host_name() -> str:
    """As people call it; it may change."""
    return socket.gethostname()


def host_id(file: Path) -> str:
    """Which host this is, for ever and for records: in a file of the state directory, made once.

    Neither the name nor /etc/machine-id would do: a name changes, cloned machines share an id, and
    containers get a new one of each. A state directory that is moved takes its id along, and with
    it what its records say. Beside one that was copied nobody's process is in danger: records name
    processes with the boot that they belong to.
    """
    try:
        found = file.read_text().strip()
    except FileNotFoundError:
        return _new(file)
    if not _ID.fullmatch(found):
        raise OSError(f"{file} holds no id of a host: restore it from a backup")
    return found


def _new(file: Path) -> str:
    made, unfinished = uuid.uuid4().hex, file.with_suffix(".host-new")
    with unfinished.open("w") as stream:
        stream.write(f"{made}\n")
        stream.flush()
        os.fsync(stream.fileno())
    unfinished.rename(file)
    sync(file.parent)
    return made
