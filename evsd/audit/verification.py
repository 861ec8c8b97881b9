"""Checking the audit log: what was altered, removed, moved or cut off, record by record."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from evsd.audit.chain import (
    DAMAGED,
    START,
    Head,
    Record,
    Unreadable,
    open_segment,
    parse,
    read_head,
    record_hash,
)

PAGE = 50_000
MOST_FINDINGS = 100
# Which of these (hash, signature) pairs are false; None where they can't be checked now.
CheckSignatures = Callable[[list[tuple[str, str]]], set[int] | None]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong, and the number of the record where it shows."""

    sequence: int
    what: str


@dataclass(frozen=True, slots=True)
class Position:
    """Where the next page begins: byte `offset` of the file from record `first` on."""

    first: int = 1
    offset: int = 0
    head: Head = START

    def __str__(self) -> str:
        """The position as a marker for `at`."""
        return f"{self.first}.{self.offset}.{self.head.sequence}.{self.head.hash}"

    @classmethod
    def at(cls, marker: str) -> Position:
        """The position of a marker; raises ValueError."""
        first, offset, sequence, digest = marker.split(".")
        return cls(int(first), int(offset), Head(int(sequence), digest))


@dataclass(slots=True)
class Verification:
    """What one page of checking has found; `next` continues it, None at the end."""

    records: int = 0
    signed: int = 0
    signatures_checked: bool = True
    findings: list[Finding] = field(default_factory=list)
    last: Head = START
    next: Position | None = None


def verify(
    path: Path,
    start: Position | None = None,
    check: CheckSignatures = lambda _: None,
    page: int = PAGE,
    mark: Head = START,
) -> Verification:
    """Check up to `page` records from `start` on, and at the end that the log was not cut off.

    `mark` is how far the log had come before, by another's word (`evsd.audit.mark`).
    """
    return _Walk(path, start or Position(), check, mark).run(page)


class _Walk:
    def __init__(self, path: Path, start: Position, check: CheckSignatures, mark: Head) -> None:
        self._path, self._check, self._mark = path, check, mark
        self._position = start
        self._last = start.head
        self._hash: str | None = start.head.hash  # None after a record that can't be read
        # Before the records: it never leads, so the log must reach it.
        self._repeated = read_head(path)
        self._head_record_signed = False
        self._pairs: list[tuple[int, str, str]] = []
        self._result = Verification()

    def run(self, page: int) -> Verification:
        if self._last.sequence == 0:
            self._compare_with_head()
        for line in self._lines():
            if self._result.records == page:
                self._result.next = replace(self._position, head=self._last)
                break
            self._result.records += 1
            self._one(line)
            self._compare_with_head()
        else:
            self._end()
        self._result.last = self._last
        self._check_signatures()
        self._result.findings.sort(key=lambda finding: finding.sequence)
        del self._result.findings[MOST_FINDINGS:]
        return self._result

    def _lines(self) -> Iterator[bytes]:
        """The lines from the position on, file after file; it stays before the line in hand."""
        while (opened := open_segment(self._path, self._position.first)) is not None:
            file, number = opened
            with file:
                file.seek(self._position.offset)
                while (line := file.readline()).endswith(b"\n"):  # or it is being written
                    yield line
                    offset = self._position.offset + len(line)
                    self._position = replace(self._position, offset=offset)
            if number is None:
                return
            self._position = Position(max(number, self._last.sequence) + 1)

    def _found(self, sequence: int, what: str) -> None:
        self._result.findings.append(Finding(sequence, what))

    def _one(self, line: bytes) -> None:
        expected = self._last.sequence + 1
        try:
            record = parse(line)
        except Unreadable:
            self._found(expected, f"record {expected} can't be read")
            self._last, self._hash = Head(expected), None
            return
        number = record["sequence"]
        if number > expected:
            self._found(expected, _missing(expected, number - 1))
        elif number < expected:
            self._found(number, f"record {number} stands where record {expected} should be")
        elif self._hash is not None and record.get("previous") != self._hash:
            self._found(number, f"record {number} does not follow the one before it")
        self._content(record)
        self._hash = str(record.get("hash"))
        self._last = Head(max(number, self._last.sequence), self._hash)

    def _content(self, record: Record) -> None:
        number = record["sequence"]
        if record.get("hash") != record_hash(record):
            self._found(number, f"record {number} was altered")
        if record.get("action") == DAMAGED:
            self._found(number, f"record {number} says of the log before it: {record['result']}")
        if self._repeated is not None and number == self._repeated[0].sequence:
            self._head_record_signed = bool(record.get("signed"))
        if record.get("signed"):
            self._result.signed += 1
            pair = (str(record.get("hash")), str(record.get("signature")))
            self._pairs.append((number, *pair))

    def _compare_with_head(self) -> None:
        if self._hash is None:
            return
        heads = [self._mark] if self._mark != START else []
        heads += [self._repeated[0]] if self._repeated is not None else []
        if any(h.sequence == self._last.sequence and h.hash != self._hash for h in heads):
            number = self._last.sequence
            self._found(number, f"record {number} is not the one written")

    def _end(self) -> None:
        if self._mark.sequence > self._last.sequence:
            first = self._last.sequence + 1
            missing = _missing(first, self._mark.sequence)
            self._found(first, f"{missing}: the database knows of more than the log")
        if self._repeated is None:
            self._found(self._last.sequence, "audit.head, which says where the log ends, is gone")
            return
        head, signed = self._repeated
        if signed:
            self._pairs.append((head.sequence, head.signed_text, signed))
        elif self._head_record_signed:
            self._found(head.sequence, "audit.head is not signed, though the log at its place is")
        if head.sequence > self._last.sequence:
            first = self._last.sequence + 1
            self._found(first, _missing(first, head.sequence) + ": the log was cut off")

    def _check_signatures(self) -> None:
        false = self._check([(digest, signed) for _, digest, signed in self._pairs])
        if false is None:
            self._result.signatures_checked = False
            return
        for index in false:
            number = self._pairs[index][0]
            self._found(number, f"record {number} has a false signature")


def _missing(first: int, last: int) -> str:
    return (
        f"record {first} is missing" if first == last else f"records {first} to {last} are missing"
    )
