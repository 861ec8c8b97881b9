"""A backup of evsd's database, as whoever copies the files of a snapshot has it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.support.daemon import Evsd, halted


def back_up(evsd: Evsd) -> Path:
    """Copy the database of a running evsd at one moment, its write-ahead log with it."""
    backup = evsd.state / "backup"
    backup.mkdir()
    with halted(evsd.pid, evsd.keys_pid):
        for file in _files(evsd.state):
            shutil.copy2(file, backup)
    assert (backup / "evsd.db-wal").stat().st_size > 0
    return backup


def restore(evsd: Evsd, backup: Path) -> None:
    """Put the backup in the place of what is there, and start evsd."""
    if evsd.running:
        evsd.stop()
    owner = (evsd.state / "evsd.db").stat()
    for file in _files(evsd.state):
        file.unlink()
    for file in _files(backup):
        copied = shutil.copy2(file, evsd.state)
        os.chown(copied, owner.st_uid, owner.st_gid)
    evsd.start()


def _files(directory: Path) -> list[Path]:
    return list(directory.glob("evsd.db*"))
