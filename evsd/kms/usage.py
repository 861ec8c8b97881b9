"""Every use of every key is one record in the audit log, allowed or refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from evsd.audit.log import AuditLog
from evsd.errors import PublishedError
from evsd.kms.call import Call

Context = Mapping[str, str] | str


@dataclass(slots=True)
class Use:
    """What the record of one use will say; filled in as the operation learns it."""

    key_id: str
    version: int | None
    context: Context


class UsageLog:
    """Writes the records. A use whose record can't be written fails: no record, no key."""

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit

    @contextmanager
    def used(
        self, call: Call, action: str, key_id: str = "", context: Context = ""
    ) -> Iterator[Use]:
        """One use of a key: whatever happens inside is recorded, before the answer leaves.

        Around a change of records, open the transaction first: the record of the use is then
        written before the change is committed.
        """
        use = Use(key_id, None, context)
        try:
            yield use
        except PublishedError as error:
            self._record(call, action, use, error.code)
            raise
        except Exception:
            self._record(call, action, use, "internal error")
            raise
        self._record(call, action, use, "ok")

    def _record(self, call: Call, action: str, use: Use, result: str) -> None:
        self._audit.append(
            action=action,
            key_id=use.key_id,
            key_version=use.version,
            context=use.context if isinstance(use.context, str) else dict(use.context),
            result=result,
            **call.as_wire(),
        )
