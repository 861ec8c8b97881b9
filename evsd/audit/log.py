"""Writing the audit log; `chain` says what it looks like.

A record is on disk before the answer it is about leaves: no record, no key.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import math
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evsd.audit.chain import (
    DAMAGED,
    START,
    Head,
    Record,
    Unreadable,
    encode_head,
    has_head,
    head_path,
    newest_first,
    parse,
    read_head,
    record_hash,
    segment_path,
    segments,
    signature,
)
from evsd.durable import sync
from evsd.errors import KeyStorageFailed, KeysUnavailable, storage_error
from evsd.json_text import writer
from evsd.resource import Resource
from evsd.space import MIB, REFUSALS, refusal, reserve

SEGMENT_BYTES = 64 * MIB
# Allocated behind the last record, for those that must always have room: of changes, which take
# rights away too, and of the keys of attached volumes. Any other use is refused before it touches
# this room, or whoever uses keys could take it all; `STEP_BYTES` are what is allocated for those.
RESERVE_BYTES, STEP_BYTES = MIB, 16 * 1024
# A sync that took less is waited for where it is asked for. In another thread it would seem to take
# as long as Python lets one thread wait for another, 5 ms, on the quickest disk.
QUICK_S = 0.01
NO_CALLER = ("key_id", "context", "domain_id", "project_id", "request_id")
SigningKey = Callable[[], bytes | None]
_line_of = writer(separators=(",", ":"))


@dataclass(slots=True, eq=False)
class Batch:
    """Records that go to the disk together."""

    lines: list[bytes] = field(default_factory=list)
    length: int = 0  # of them all
    head: Head = START  # of the chain with them
    on_disk: bool | None = None  # False once they are lost: what they are about must not happen
    trouble: KeysUnavailable | None = None  # why they are lost


class _NoRoom(Exception):
    """The filesystem has none for another file."""


class AuditLog(Resource):
    """The open log; one process writes it, in one thread.

    While one batch is on its way to the disk, which a thread of the log's own waits for, records
    gather in the next. Where that fails both are lost: their chain goes on from what is not there.

    Records are signed while `signing_key` gives a key, that is, once the token was there.
    """

    def __init__(
        self,
        path: Path,
        segment_bytes: int = SEGMENT_BYTES,
        signing_key: SigningKey = lambda: None,
        mark: Head = START,
    ) -> None:
        """`mark` is how far the log had come by another's word; it may lag behind, not lead."""
        self.path = path
        self._segment_bytes, self._signing_key = segment_bytes, signing_key
        self._batch = Batch()  # of records that wait; the file holds none of them
        self._newest = self._batch
        self._writing: tuple[Batch, Future[None]] | None = None
        self._sync_s = math.inf  # what the last one took
        self._room = 0  # bytes that the file is known to have
        self._thread = ThreadPoolExecutor(1, "audit")
        with contextlib.ExitStack() as undo:
            self._lock = _open(path.with_suffix(".lock"))
            undo.callback(os.close, self._lock)
            # An evsd-keys that hangs may outlive its evsd: two writers would fork the chain.
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            self._fd = _open(path)
            undo.callback(lambda: os.close(self._fd))
            self._size = self._cut_torn_line()
            had_head = has_head(path)
            self._head_fd = _open(head_path(path))
            undo.callback(os.close, self._head_fd)
            self._head, damage = self._resume(had_head, mark)
            self._synced_head = self._head
            if self._head == START and not (had_head or damage):
                self._begin()
            self._hold_reserve()
            if damage:
                self.note_damage(damage)
            undo.pop_all()

    def close(self) -> None:
        """Write what still waits, nobody's answer by now, and close the files."""
        with contextlib.suppress(KeysUnavailable):
            self.sync()
        self._thread.shutdown()
        for fd in (self._fd, self._head_fd, self._lock):
            os.close(fd)

    @property
    def head(self) -> Head:
        """Where the chain ends now."""
        return self._head

    @property
    def synced_head(self) -> Head:
        """Where the chain on disk ends."""
        return self._synced_head

    @property
    def settled(self) -> bool:
        """Whether every record is on disk."""
        return self._writing is None and not self._batch.lines

    @property
    def is_quick(self) -> bool:
        """Whether the disk was, the last time; then it is not worth a thread to wait for it."""
        return self._sync_s < QUICK_S

    @property
    def newest(self) -> Batch:
        """The one that the last record is in; the next record that waits may be in another."""
        return self._newest

    def append(self, *, durable: bool = True, **fields: Any) -> None:
        """Write one record and wait for the disk; raises `KeysUnavailable` if that fails.

        One that is not `durable` waits for the next sync, before which no answer may leave. It is
        refused, with `KeyStorageFailed`, where it would take the room that others must have.
        """
        if not (durable or self._hold_reserve()):
            raise self._unwritable(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        self._append(fields, self._signing_key(), durable=durable)

    def sync(self) -> None:
        """Put all records on disk; if that fails, those that waited are forgotten and it raises."""
        self.end_sync()
        if self._batch.lines:
            batch, content = self._next_batch()
            with self._outcome(batch):
                self._make_room(content)
                self._put(self._fd, content)

    def begin_sync(self) -> Future[None]:
        """Start putting all that waits on disk; once the result is there, call `end_sync`.

        The result says only that: how it went, `end_sync` and the batches tell.
        """
        self.end_sync()
        batch, content = self._next_batch()
        with self._outcome(batch, done=False):
            self._make_room(content)
            self._writing = batch, self._thread.submit(self._put, self._fd, content)
            return self._writing[1]

    def end_sync(self) -> None:
        """Wait for what is on its way to the disk; raises `KeysUnavailable` if it is lost."""
        if self._writing is not None:
            (batch, writing), self._writing = self._writing, None
            with self._outcome(batch):
                writing.result()

    def _next_batch(self) -> tuple[Batch, bytes]:
        batch, self._batch = self._batch, Batch()
        return batch, b"".join(batch.lines)

    @contextlib.contextmanager
    def _outcome(self, batch: Batch, *, done: bool = True) -> Iterator[None]:
        """Around the writing of a batch, or its beginning: keep account of how that went."""
        try:
            yield
        except OSError as error:
            self._cut()
            trouble = self._unwritable(error)
            for lost in (batch, self._batch):
                lost.on_disk, lost.trouble = False, trouble
            self._batch, self._head = Batch(), self._synced_head
            raise trouble from error
        if done:
            self._size += batch.length
            batch.on_disk, self._synced_head = True, batch.head
            self._write_head()

    def append_signed(self, **fields: Any) -> None:
        """The same for a record that is worth nothing unsigned: fails while the key isn't there."""
        key = self._signing_key()
        if key is None:
            raise KeysUnavailable(reason="the audit record can't be signed without the token")
        self._append(fields, key, durable=True)

    def _append(self, fields: dict[str, Any], key: bytes | None, *, durable: bool) -> None:
        if not self._batch.lines and not self._is_in_place():  # once for all that go together
            self._reopen()
        record: Record = {
            "sequence": self._head.sequence + 1,
            "time": datetime.now(UTC).isoformat(timespec="microseconds"),
            **fields,
            "signed": key is not None,
            "previous": self._head.hash,
        }
        record["hash"] = record_hash(record)
        if key is not None:
            record["signature"] = signature(key, record["hash"])
        self._head = Head(record["sequence"], record["hash"])
        line = _line_of(record).encode() + b"\n"
        self._batch.lines.append(line)
        self._batch.length += len(line)
        self._batch.head = self._head
        self._newest = self._batch
        if durable:
            self.sync()

    def _is_in_place(self) -> bool:
        return _is_at(self._fd, self.path) and _is_at(self._head_fd, head_path(self.path))

    def _reopen(self) -> None:
        """Go on in the files that somebody has put in place of ours, and say so there.

        The chain goes on where it was, so that what they lack is found missing.
        """
        self.end_sync()
        try:
            log, head = _open(self.path), _open(head_path(self.path))
        except OSError as error:
            raise KeysUnavailable(reason=f"the audit log is gone: {error}") from error
        os.close(self._fd)
        os.close(self._head_fd)
        self._fd, self._head_fd, self._size = log, head, os.fstat(log).st_size
        self._room = 0
        self.note_damage("audit.log or audit.head was replaced while it was in use")

    def note_damage(self, reason: str) -> None:
        """Say in the log itself that something of it was lost, so that it is never forgotten."""
        nobody: dict[str, Any] = dict.fromkeys(NO_CALLER, "")
        self.append(action=DAMAGED, principal="evsd", source="evsd", result=reason, **nobody)

    # --- writing -------------------------------------------------------------------------------

    def _put(self, fd: int, content: bytes) -> None:
        began = time.monotonic()
        if os.write(fd, content) != len(content):
            raise OSError("short write")
        os.fdatasync(fd)
        self._sync_s = time.monotonic() - began

    def _hold_reserve(self) -> bool:
        """See to it that the room for what must always be recorded is there."""
        needed = self._size + self._unwritten() + RESERVE_BYTES
        if self._room >= needed:
            return True
        self._room = os.fstat(self._fd).st_blocks * 512
        return self._room >= needed or reserve(self._fd, needed + STEP_BYTES)

    def _unwritten(self) -> int:
        return self._batch.length + (0 if self._writing is None else self._writing[0].length)

    def _unwritable(self, error: OSError) -> KeysUnavailable:
        reason = f"the audit log can't be written: {error}"
        # ext4 that has become read-only says EIO of a file with room of its own.
        cause = error if error.errno in REFUSALS else refusal(self.path.parent)
        if cause is None:
            return KeysUnavailable(reason=reason)
        named = storage_error("the state directory", self.path.parent, cause)
        return KeyStorageFailed(reason=f"{reason}: {named.message}")

    def _make_room(self, content: bytes) -> None:
        if os.fstat(self._fd).st_size != self._size:  # what an earlier write left could not be cut
            os.ftruncate(self._fd, self._size)
            self._room = 0
        if self._size and self._size + len(content) > self._segment_bytes:
            with contextlib.suppress(_NoRoom):  # it goes on where it has its room
                self._rotate()

    def _cut(self) -> None:
        """Cut off what was not wholly written: a torn line would end the chain for all after it."""
        self._room = 0  # it goes with that
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, self._size)

    def _rotate(self) -> None:
        """Begin a new file; the chain goes on in it. A crash in here leaves no active file."""
        fresh = self._next_segment()
        try:
            if self.path.exists():
                self.path.rename(segment_path(self.path, _first_sequence(self.path)))
            self._next_path.rename(self.path)
            sync(self.path.parent)
        except OSError:
            os.close(fresh)
            raise
        os.close(self._fd)
        self._fd, self._size, self._room = fresh, 0, 0

    @property
    def _next_path(self) -> Path:
        return self.path.with_suffix(".next")

    def _next_segment(self) -> int:
        """A file with room of its own; raises `_NoRoom` where there is none."""
        try:
            self._next_path.unlink(missing_ok=True)
            fresh = _open(self._next_path)
        except OSError as error:
            if error.errno in REFUSALS:
                raise _NoRoom from error
            raise
        if reserve(fresh, RESERVE_BYTES):
            return fresh
        os.close(fresh)
        self._next_path.unlink()
        raise _NoRoom

    def _write_head(self) -> None:
        """Repeat the head, which may lag behind the log but never leads: it is written after it.

        Not synced: after a power cut it lags by what the kernel had not written yet.
        """
        with contextlib.suppress(OSError):  # the record is safe, and `verify` says what the head is
            os.pwrite(self._head_fd, encode_head(self._synced_head, self._signing_key()), 0)

    # --- opening -------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Say on disk that the log is empty: one that ends before its first record is whole."""
        os.pwrite(self._head_fd, encode_head(START, None), 0)
        for fd in (self._head_fd, self._fd):
            os.fsync(fd)
        sync(self.path.parent)

    def _cut_torn_line(self) -> int:
        """Cut off a line torn by a crash, which never released a key; returns the size."""
        content = self.path.read_bytes()
        end = content.rfind(b"\n") + 1
        if end < len(content):
            os.ftruncate(self._fd, end)
        return end

    def _resume(self, had_head: bool, mark: Head) -> tuple[Head, str]:
        """Where the chain goes on, and what is wrong with what there is of it."""
        head, damage = self._resume_after_head(had_head)
        if mark.sequence > head.sequence:
            # Going on behind the mark leaves the gap in the chain for ever.
            what = "the whole log is" if head == START else "the end of the log is"
            missing = f"records {head.sequence + 1} to {mark.sequence}"
            return mark, f"{what} missing, {missing}: the database knows of them"
        if damage or mark == START:
            return head, damage
        marked = next(newest_first(self.path, mark.sequence + 1), None)
        same = marked is not None and _head_of(marked) == mark
        return head, "" if same else f"record {mark.sequence} is not the one the database knows"

    def _resume_after_head(self, had_head: bool) -> tuple[Head, str]:
        repeated = read_head(self.path)
        records = newest_first(self.path)
        last = next(records, None)
        if repeated is None:
            if last is None:
                return START, "audit.head can't be read" if had_head else ""
            return _head_of(last), "audit.head is missing, or can't be read"
        head, _ = repeated
        if last is None and head == START:
            return START, ""
        if last is None or last["sequence"] < head.sequence:
            # Going on behind the head leaves the gap in the chain for ever.
            first = (last["sequence"] if last else 0) + 1
            return head, f"records {first} to {head.sequence} are missing"
        record: Record | None = last
        while record is not None and record["sequence"] > head.sequence:
            record = next(records, None)
        same = head == START if record is None else _head_of(record) == head
        return _head_of(last), "" if same else f"record {head.sequence} is not the one written"


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _head_of(record: Record) -> Head:
    return Head(record["sequence"], str(record.get("hash")))


def _first_sequence(path: Path) -> int:
    """The number of the first record of the active file; after the rotated ones if it is bad."""
    with path.open("rb") as file:
        try:
            return int(parse(file.readline())["sequence"])
        except Unreadable:
            return max(segments(path), default=0) + 1


def _open(path: Path) -> int:
    # O_APPEND is refused by pwrite, which Linux then appends: the head is not opened with it.
    append = 0 if path.suffix == ".head" else os.O_APPEND
    return os.open(path, os.O_RDWR | os.O_CREAT | append | os.O_CLOEXEC, 0o600)
