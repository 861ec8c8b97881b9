"""The audit log, an extension: its records, and whether it is whole.

A Security Administrator sees the records of the own domain; the operator, on the unix socket, sees
all, and verifies the log.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Query
from pydantic import AfterValidator, ConfigDict, Field

from evsd.api.router import Router, router
from evsd.api.routes import Caller, CallingPrincipal, Model, UsesHost, needs
from evsd.audit.mark import read_mark
from evsd.audit.reader import Filter, select
from evsd.audit.verification import Position, verify
from evsd.key_channel.call import Call
from evsd.key_channel.shared import CheckAuditSignatures
from evsd.key_client.process import KeyProcess
from evsd.policy import OPERATOR
from evsd.services.audit.permissions import AuditPermission
from evsd.services.kms.style import KMS

# Signatures checked by one request to evsd-keys: milliseconds of its time, and a line it reads.
PORTION = 2000


def _moment(value: str) -> str:
    """A time as the log writes it; one without a zone is UTC."""
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC).isoformat(timespec="microseconds")
    except OverflowError as error:
        raise ValueError("a time beyond the calendar") from error


Text = Annotated[str, Field(max_length=255)]
Moment = Annotated[str, Field(max_length=40), AfterValidator(_moment)]
Below = Annotated[int, Field(ge=1, le=2**62)]


class RecordsQuery(Model):
    """Filters and paging of the records."""

    key_id: Text = ""
    principal: Text = ""
    action: Text = ""
    result: Annotated[Text, Field(description="a code, ok, or refused for all but ok")] = ""
    since: Moment | None = None
    until: Moment | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    marker: Below | None = None


class VerificationQuery(Model):
    """Paging of the verification."""

    marker: Annotated[
        str,
        Field(pattern=r"^\d{1,18}(\.\d{1,18}){2}\.[0-9a-f]{64}$"),
    ] = str(Position())


class RecordView(Model):
    """One use of a key, allowed or refused, as the log holds it."""

    model_config = ConfigDict(extra="allow")

    sequence: int
    time: str
    action: str
    principal: str
    source: str
    domain_id: str
    project_id: str
    request_id: str
    key_id: str
    key_version: int | None = None
    context: dict[str, Any] | str
    result: str
    hash: str


class RecordsResponse(Model):
    """Records, newest first; an empty `next_marker` says that these were the last."""

    records: list[RecordView]
    next_marker: str


class FindingView(Model):
    """Something that is wrong, and the record where it shows."""

    sequence: int
    what: str


class VerificationResponse(Model):
    """Of one page; the log is whole if no page has findings."""

    records: int
    signed: int
    signatures_checked: bool
    last_sequence: int
    findings: list[FindingView]
    next_marker: str


routes: Router = router(KMS, "Audit")
ROUTERS = (routes,)


@routes.get("/v1/audit/records", **needs(AuditPermission.AUDIT_LIST))
def list_records(
    query: Annotated[RecordsQuery, Query()], principal: CallingPrincipal, host: UsesHost
) -> RecordsResponse:
    """Who used which key; a page may be empty and not the last one."""
    wanted = Filter(
        domain_id="" if OPERATOR in principal.roles else principal.domain_id,
        key_id=query.key_id,
        principal=query.principal,
        action=query.action,
        result=query.result,
        since=query.since or "",
        until=query.until or "",
    )
    page = select(host.keys.audit_log, wanted, query.limit, query.marker)
    records = [RecordView.model_validate(record) for record in page.records]
    return RecordsResponse(records=records, next_marker=str(page.next or ""))


@routes.get("/v1/audit/verification", **needs(AuditPermission.AUDIT_VERIFY))
def verify_log(
    query: Annotated[VerificationQuery, Query()],
    call: Caller,
    host: UsesHost,
) -> VerificationResponse:
    """Check one page of the log; the first without a marker, then with that of the one before."""
    result = verify(
        host.keys.audit_log,
        Position.at(query.marker),
        lambda pairs: _false_signatures(host.keys, call, pairs),
        mark=read_mark(host.database),
    )
    return VerificationResponse(
        records=result.records,
        signed=result.signed,
        signatures_checked=result.signatures_checked,
        last_sequence=result.last.sequence,
        findings=[FindingView(sequence=f.sequence, what=f.what) for f in result.findings],
        next_marker=str(result.next or ""),
    )


def _false_signatures(
    keys: KeyProcess, call: Call, pairs: list[tuple[str, str]]
) -> set[int] | None:
    """Ask who has the key, in portions that don't hold up its other work."""
    found: set[int] = set()
    for start in range(0, len(pairs), PORTION):
        portion = pairs[start : start + PORTION]
        false = keys.call(call, CheckAuditSignatures(portion))
        if false is None:
            return None
        found |= {start + index for index in false}
    return found
