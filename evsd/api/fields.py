"""Fields that several services share."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints

# Far beyond any number of records, and within what SQL takes for an offset.
MAX_OFFSET = 2**31 - 1

UUID_PATTERN = r"^[0-9a-z]{8}(-[0-9a-z]{4}){3}-[0-9a-z]{12}$"
KeyId = Annotated[str, Field(pattern=UUID_PATTERN)]
SnapshotId = Annotated[str, StringConstraints(pattern=UUID_PATTERN)]
VolumeId = Annotated[str, StringConstraints(pattern=UUID_PATTERN)]


def microseconds(moment: datetime) -> str:
    """A time as EVS and IAM print it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")


def printable(value: str) -> str:
    """Text for a table or a terminal: a line of it, and nothing that moves the cursor."""
    if not value.isprintable():
        raise ValueError("it has unprintable characters")
    return value


def name(value: str) -> str:
    """What something is called: text, and nothing that could be taken for an id."""
    if value != value.strip():
        raise ValueError("it begins or ends with a space")
    if re.fullmatch(UUID_PATTERN, value):
        raise ValueError("it could be taken for an id")
    return printable(value)
