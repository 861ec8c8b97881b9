"""The hash chain of the audit log: what a record is, and the files that hold it.

A record is one line of JSON. Its ``hash`` is SHA-256 over the canonical JSON of all its other
fields, one of which is ``previous``, the hash of the record before: one that is altered, removed
or moved breaks the chain at its place. A record whose ``signed`` is true also has ``signature``,
HMAC-SHA256 over its hash under a key that only the token can give: whoever has the files but not
the token can't compute a chain anew.

The newest records are in ``audit.log``, older ones in ``audit.log.N``, N being the sequence number
of its first record, 12 digits. ``audit.head`` repeats the last record's number and hash.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from evsd.json_text import writer

GENESIS = "0" * 64
HEAD_LENGTH = 512  # a disk sector: written whole or not at all
DAMAGED = "audit-log-damaged"  # the action of a record that says so
Record = dict[str, Any]
_NUMBER = re.compile(rb'\{"sequence":(\d+),')


class Unreadable(ValueError):
    """A line that is no record."""


@dataclass(frozen=True, slots=True)
class Head:
    """Where a chain ends: the last record's number and hash."""

    sequence: int = 0
    hash: str = GENESIS

    @property
    def signed_text(self) -> str:
        """What its signature is over: no record's signature can be taken for it."""
        return f"head {self.sequence} {self.hash}"


START = Head()
_canonical = writer(sort_keys=True, separators=(",", ":"))


def record_hash(record: Record) -> str:
    """What the record's ``hash`` must be."""
    fields = {k: v for k, v in record.items() if k not in ("hash", "signature")}
    return hashlib.sha256(_canonical(fields).encode()).hexdigest()


def signature(key: bytes, digest: str) -> str:
    """What the ``signature`` of a record or head with this hash must be."""
    return hmac.digest(key, digest.encode(), "sha256").hex()


def parse(line: bytes) -> Record:
    """The record of one line; raises `Unreadable`."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Unreadable(str(error)) from error
    if not isinstance(record, dict) or not isinstance(record.get("sequence"), int):
        raise Unreadable("it is not a record")
    return record


# --- files ---------------------------------------------------------------------------------------


def segment_path(path: Path, first: int) -> Path:
    """Where the records from `first` on are, once the log was rotated."""
    return path.with_name(f"{path.name}.{first:012}")


def segments(path: Path) -> dict[int, Path]:
    """The rotated files by their first record's number, oldest first."""
    pattern = re.compile(re.escape(path.name) + r"\.(\d{12})")
    found = {}
    for file in path.parent.iterdir():
        if match := pattern.fullmatch(file.name):
            found[int(match[1])] = file
    return dict(sorted(found.items()))


def open_segment(path: Path, first: int) -> tuple[BinaryIO, int | None] | None:
    """The file whose records begin at `first`, or the next there is, with the number in its name.

    The active file, which has no number, is opened before the others are listed: if it is rotated
    in between, it is found under its new name. None where there is neither.
    """
    active = _open_active(path)
    for number, file in segments(path).items():
        if number >= first:
            if active is not None:
                active.close()
            return file.open("rb"), number
    return None if active is None else (active, None)


def newest_first(path: Path, below: int | None = None) -> Iterator[Record]:
    """All readable records, or those with numbers below one, the last one first."""
    active = _open_active(path)  # before the others are listed, see `open_segment`
    rotated = [file for first, file in segments(path).items() if below is None or first < below]
    if active is not None:
        with active:
            yield from _backwards(active, below)
    for file in reversed(rotated):
        with file.open("rb") as opened:
            yield from _backwards(opened, below)


def _open_active(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb")
    except FileNotFoundError:  # it is about to be made anew
        return None


def _backwards(file: BinaryIO, below: int | None) -> Iterator[Record]:
    if file.seek(0, 2) == 0:
        return
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as lines:
        end = lines.rfind(b"\n") + 1  # what follows is being written
        while end > 0:
            start = lines.rfind(b"\n", 0, end - 1) + 1
            # Without parsing: a page far back would be slow otherwise.
            number = _NUMBER.match(lines[start : start + 40])
            if below is None or (number is not None and int(number[1]) < below):
                with contextlib.suppress(Unreadable):
                    yield parse(lines[start:end])
            end = start


# --- the head ------------------------------------------------------------------------------------


def head_path(path: Path) -> Path:
    """The file that repeats where the chain ends."""
    return path.with_suffix(".head")


def has_head(path: Path) -> bool:
    """Whether anything was ever written there; a crash of the first start can leave it blank."""
    try:
        return bool(head_path(path).read_bytes().strip(b"\0"))
    except FileNotFoundError:
        return False


def encode_head(head: Head, key: bytes | None) -> bytes:
    """The content of the head's file."""
    fields: Record = {"sequence": head.sequence, "hash": head.hash}
    if key is not None:
        fields["signature"] = signature(key, head.signed_text)
    return json.dumps(fields).encode().ljust(HEAD_LENGTH - 1) + b"\n"


def read_head(path: Path) -> tuple[Head, str] | None:
    """The head and its signature, empty where it has none; None where the file is gone or bad."""
    try:
        fields = parse(head_path(path).read_bytes())
        return Head(fields["sequence"], str(fields["hash"])), str(fields.get("signature", ""))
    except (OSError, Unreadable, KeyError):
        return None
