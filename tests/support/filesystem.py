"""Filesystems that are small enough to be filled."""

from __future__ import annotations

import errno
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


@contextmanager
def mounted_image(directory: Path, kind: str, mib: int) -> Iterator[None]:
    """A fresh filesystem of that kind on the directory until the end of the block."""
    if kind == "tmpfs":
        with mounted_tmpfs(directory, f"{mib}m"):
            yield
        return
    image = directory.with_suffix(".image")
    with image.open("wb") as file:
        file.truncate(mib * 2**20)
    subprocess.run([f"mkfs.{kind}", "-q", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, directory], check=True)
    for made_by_mkfs in directory.iterdir():  # lost+found
        made_by_mkfs.rmdir()
    try:
        yield
    finally:
        subprocess.run(["umount", directory], check=True)
        image.unlink()


def fill(path: Path) -> None:
    """Write to a file, which may be there already, until the filesystem has not a block left."""
    with path.open("ab", buffering=0) as file:
        for step in (2**16, 4096):
            try:
                while True:
                    file.write(bytes(step))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
