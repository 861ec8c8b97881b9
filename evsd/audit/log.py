"""A hash-chained, append-only log of JSON lines.

Each record holds the hash of the one before it and its own:
``hash = SHA-256(canonical JSON of the other fields)``, the previous hash being one of them, so a
record that is altered, removed or moved breaks the chain at its place. The file is flushed to disk
before an answer leaves: no record, no key.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evsd.errors import KmsUnavailable

GENESIS = "0" * 64
Record = dict[str, Any]


class ChainBroken(Exception):
    """The log was altered; the message says at which line and how."""


class AuditLog:
    """The open log; one process writes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        # An evsd-keys that hangs may outlive its evsd: two writers would fork the chain.
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        self._broken = False
        self._sequence, self._hash = self._resume()

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def append(self, **fields: Any) -> None:
        """Write one record and wait for the disk; raises `KmsUnavailable` if that fails."""
        record: Record = {
            "sequence": self._sequence + 1,
            "time": datetime.now(UTC).isoformat(timespec="microseconds"),
            **fields,
            "previous": self._hash,
        }
        record["hash"] = _hash(record)
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        if self._broken:
            raise KmsUnavailable(reason="the audit log ends in a torn record")
        size = os.fstat(self._fd).st_size
        try:
            if os.write(self._fd, line) != len(line):
                raise OSError("short write")
            os.fdatasync(self._fd)
        except OSError as error:
            self._cut(size)
            raise KmsUnavailable(reason=f"the audit log can't be written: {error}") from error
        self._sequence, self._hash = record["sequence"], record["hash"]

    def _cut(self, size: int) -> None:
        """Take a torn line back, which would end the chain for every record after it."""
        try:
            os.ftruncate(self._fd, size)
        except OSError:
            self._broken = True

    def _resume(self) -> tuple[int, str]:
        """Where the chain stands; a line torn by a crash never released a key and is cut off."""
        last, end = None, 0
        with self.path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    last, end = line, end + len(line)
        if end < os.fstat(self._fd).st_size:
            os.ftruncate(self._fd, end)
        if last is None:
            return 0, GENESIS
        record = json.loads(last)
        return record["sequence"], record["hash"]


def verify(path: Path) -> int:
    """Check the whole chain; returns the number of records, raises `ChainBroken`."""
    previous, count = GENESIS, 0
    for count, record in enumerate(read(path), 1):
        if record.get("sequence") != count or record.get("previous") != previous:
            raise ChainBroken(f"record {count} does not follow the one before it")
        if record.get("hash") != _hash(record):
            raise ChainBroken(f"record {count} was altered")
        previous = record["hash"]
    return count


def read(path: Path) -> Iterator[Record]:
    """The records in order."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                record = json.loads(line)
            except ValueError as error:
                raise ChainBroken(f"record {number} can't be read") from error
            if not isinstance(record, dict):
                raise ChainBroken(f"record {number} is not a record")
            yield record


def _hash(record: Record) -> str:
    fields = {k: v for k, v in record.items() if k != "hash"}
    spelled = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(spelled).hexdigest()
