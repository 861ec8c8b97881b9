"""What a connect makes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Transport = Literal["kernel", "fuse"]


@dataclass(frozen=True)
class Device:
    """A block device of this host that reaches an NBD server."""

    path: Path
    transport: Transport
    identifier: str
