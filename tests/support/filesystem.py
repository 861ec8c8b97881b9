"""Filesystems that are small enough to be filled."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def mounted_tmpfs(directory: Path, size: str) -> Iterator[None]:
    """A tmpfs of that size on the directory until the end of the block."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", directory], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", directory], check=True)
