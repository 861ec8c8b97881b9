"""Looking records up in the audit log, newest first."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from evsd.audit.chain import Record, newest_first

# A page ends after so many records were looked at, found or not: some tenths of a second.
MOST_LOOKED_AT = 50_000


@dataclass(frozen=True, slots=True)
class Filter:
    """Which records are wanted; empty fields don't matter. Times as the log writes them.

    `domain_id` is that of the caller, or of the owner of the key that was used.
    """

    domain_id: str = ""
    key_id: str = ""
    principal: str = ""
    action: str = ""
    result: str = ""  # a code, "ok", or "refused" for all but ok
    since: str = ""
    until: str = ""

    def matches(self, record: Record) -> bool:
        """Whether it is one of them."""
        if self.domain_id not in ("", record.get("domain_id"), record.get("key_domain_id")):
            return False
        for name in ("key_id", "principal", "action"):
            wanted = getattr(self, name)
            if wanted and record.get(name) != wanted:
                return False
        time = str(record.get("time"))
        if (self.since and time < self.since) or (self.until and time > self.until):
            return False
        return self._result_matches(record.get("result"))

    def _result_matches(self, result: object) -> bool:
        if self.result == "refused":
            return result != "ok"
        return not self.result or result == self.result


@dataclass(slots=True)
class Page:
    """Records, and the number below which the next page begins: None after the last one."""

    records: list[Record] = field(default_factory=list)
    next: int | None = None


def select(path: Path, wanted: Filter, limit: int, below: int | None = None) -> Page:
    """Up to `limit` of the wanted records, newest first."""
    page = Page()
    for looked_at, record in enumerate(newest_first(path, below), 1):
        if wanted.matches(record):
            page.records.append(record)
        if len(page.records) == limit or looked_at == MOST_LOOKED_AT:
            page.next = record["sequence"] if record["sequence"] > 1 else None
            break
    return page
