"""Every use of every key is one record in the audit log, allowed or refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from evsd.audit.log import AuditLog
from evsd.errors import PublishedError
from evsd.key_channel.call import Call
from evsd.key_channel.shared import Context, RecordChange, RecordRefusal

OK = "ok"


class Key(Protocol):
    """What a record says of a key."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def version(self) -> int:
        """The newest."""

    @property
    def domain_id(self) -> str:
        """The owner's."""


@dataclass(slots=True)
class Use:
    """What the record of one use will say; filled in as the operation learns it."""

    key_id: str
    version: int | None
    context: Context
    key_domain_id: str = ""  # of the key's owner, who sees what others do with it

    def of(self, key: Key) -> None:
        """It is a use of this key, in its newest version."""
        self.key_id, self.version, self.key_domain_id = key.id, key.version, key.domain_id


class UsageLog:
    """Writes the records. A use whose record can't be written fails: no record, no key."""

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit
        self.last_result = ""

    @contextmanager
    def used(
        self,
        call: Call,
        action: str,
        key_id: str = "",
        context: Context = "",
        *,
        signed: bool = False,
        durable: bool = True,
    ) -> Iterator[Use]:
        """One use of a key: whatever happens inside is recorded, before the answer leaves.

        With `signed` it is only done if its record can be signed by the token's key. One that is
        not `durable` is on disk only after `AuditLog.sync`: for uses that change nothing.

        Around a change of records, open the transaction first: the record of the use is then
        written before the change is committed.
        """
        use = Use(key_id, None, context)
        try:
            yield use
        except PublishedError as error:
            self._record(call, action, use, error.code, durable=durable)
            raise
        except Exception:
            self._record(call, action, use, "internal error", durable=durable)
            raise
        if signed:
            self._audit.append_signed(**_fields(call, action, use, OK))
        else:
            self._record(call, action, use, OK, durable=durable)

    @RecordRefusal.handler
    def record_refusal(self, call: Call, request: RecordRefusal) -> None:
        """What was refused before its use began; it is on disk after `AuditLog.sync`."""
        use = Use(request.key_id, None, request.context)
        self._record(call, request.action, use, request.code, durable=False)

    @RecordChange.handler
    def record_change(self, call: Call, request: RecordChange) -> None:
        """What evsd is about to change in its own records; it is on disk then."""
        self._record(call, request.action, Use("", None, request.context), OK, durable=True)

    def _record(self, call: Call, action: str, use: Use, result: str, *, durable: bool) -> None:
        self._audit.append(durable=durable, **_fields(call, action, use, result))
        self.last_result = result


def _fields(call: Call, action: str, use: Use, result: str) -> dict[str, Any]:
    return {
        "action": action,
        "key_id": use.key_id,
        "key_version": use.version,
        "key_domain_id": use.key_domain_id,
        "context": use.context if isinstance(use.context, str) else dict(use.context),
        "result": result,
        **call.as_wire(),
    }
