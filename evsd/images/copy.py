"""Copying a disk from one NBD export to another, holes as holes."""

from __future__ import annotations

from pathlib import Path

from evsd.images import nbd, tools
from evsd.images.tools import Progress


def copy_export(source: Path, target: Path, progress: Progress) -> None:
    """Copy what one socket exports to another's export, which is as large and reads as zeros.

    It is on disk then. Raises `ToolFailed`, OSError.
    """
    words = ["qemu-img", "convert", "-n", "-p", "--target-is-zero", "-t", "writeback"]
    words += ["-f", "raw", "-O", "raw", nbd.uri_of(source), nbd.uri_of(target)]
    tools.copy(words, progress)
    nbd.flush(nbd.uri_of(target))
