"""Grants: one key's use lent to a user or to a whole domain, operation by operation."""

from __future__ import annotations

import secrets

from sqlalchemy import ColumnElement, delete, func, or_, select
from sqlalchemy.orm import Session

from evsd.key_channel.call import Call
from evsd.services.iam.records import is_known
from evsd.services.kms.errors import (
    GranteeInvalid,
    GrantIncomplete,
    GrantInvalid,
    GrantKeyMismatch,
    GrantQuotaExceeded,
)
from evsd.services.kms.key_process.key_store import (
    KeyStore,
    find,
    forbidden,
    granted_operations,
    is_grantee,
)
from evsd.services.kms.key_process.key_usable import check_usable
from evsd.services.kms.operations import (
    CreateGrant,
    FoundGrants,
    GrantDetails,
    ListGrants,
    ListRetirableGrants,
    RetireGrant,
    RevokeGrant,
)
from evsd.services.kms.permissions import GrantOperation
from evsd.services.kms.tables import Cmk, Grant
from evsd.store.database import utcnow

GRANT_QUOTA = 100


class Grants:
    """The grants on all keys; `keystore.find` is where they count."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys

    @CreateGrant.handler
    def create_grant(self, call: Call, request: CreateGrant) -> str:
        """Lend the key; raises `GrantIncomplete`, `GrantQuotaExceeded`, `KeyUnusable`.

        Whoever may grant only by a grant can pass on only what was granted to him.
        """
        operations, grantee = set(request.operations), request.grantee
        if operations == {GrantOperation.CREATE_GRANT}:
            raise GrantIncomplete()
        lent = {request.grantee_type: grantee, "operations": ", ".join(sorted(operations))}
        with (
            self._keys.database.transaction() as session,
            self._keys.used(call, "create-grant", request.key_id, lent) as use,
        ):
            cmk = find(session, call, request.key_id, GrantOperation.CREATE_GRANT)
            use.of(cmk)
            check_usable(cmk)
            if cmk.is_default:
                raise GrantInvalid(field="key_id", reason="a default key can't be granted")
            if not is_known(session, request.grantee_type, grantee):
                raise GranteeInvalid(
                    value=grantee, reason=f"there is no such {request.grantee_type}"
                )
            self._require_own(session, call, cmk, operations)
            if _count(session, Grant.key_id == cmk.id) >= GRANT_QUOTA:
                raise GrantQuotaExceeded(name=cmk.alias, quota=GRANT_QUOTA)
            grant = Grant(
                id=secrets.token_hex(32),
                key_id=cmk.id,
                name=request.name,
                grantee=grantee,
                grantee_type=request.grantee_type,
                operations=sorted(operations),
                issuer=call.user_id,
                retiring_principal=request.retiring_principal,
                created_at=utcnow(),
            )
            session.add(grant)
            use.context = {**lent, "grant_id": grant.id}
        return grant.id

    @ListGrants.handler
    def list_grants(self, call: Call, request: ListGrants) -> FoundGrants:
        """One page of the grants on a key of the caller's project."""
        with self._keys.database.reading() as session:
            cmk = find(session, call, request.key_id)
            return _page(session, Grant.key_id == cmk.id, request.limit, request.offset)

    @ListRetirableGrants.handler
    def list_retirable_grants(self, call: Call, request: ListRetirableGrants) -> FoundGrants:
        """One page of the grants whose retiring principal the caller is."""
        with self._keys.database.reading() as session:
            mine = or_(
                Grant.retiring_principal == call.user_id,
                Grant.retiring_principal == call.domain_id,
            )
            return _page(session, mine, request.limit, request.offset)

    @RevokeGrant.handler
    def revoke_grant(self, call: Call, request: RevokeGrant) -> None:
        """Take a grant on a key of the caller's project back."""
        key_id, grant_id = request.key_id, request.grant_id
        with (
            self._keys.database.transaction() as session,
            self._keys.used(call, "revoke-grant", key_id, {"grant_id": grant_id}) as use,
        ):
            cmk = find(session, call, key_id)
            use.of(cmk)
            session.delete(_grant(session, cmk, grant_id))

    @RetireGrant.handler
    def retire_grant(self, call: Call, request: RetireGrant) -> None:
        """Give a grant up: its issuer, its retiring principal, or a grantee it allows to retire."""
        key_id, grant_id = request.key_id, request.grant_id
        with (
            self._keys.database.transaction() as session,
            self._keys.used(call, "retire-grant", key_id, {"grant_id": grant_id}) as use,
        ):
            grant = session.get(Grant, grant_id)
            if grant is None or grant.key_id != key_id or not _may_retire(call, grant):
                # Whether such a grant exists is not for everybody to know.
                find(session, call, key_id)
                raise GrantKeyMismatch(name=key_id, grant_id=grant_id)
            use.of(session.get_one(Cmk, key_id))
            session.delete(grant)

    def _require_own(
        self, session: Session, call: Call, cmk: Cmk, operations: set[GrantOperation]
    ) -> None:
        if cmk.project_id == call.project_id and not call.by_grant:
            return
        lacking = operations - granted_operations(session, call, cmk.id)
        if lacking:
            raise forbidden(call, min(lacking))


def remove_grants(session: Session, key_id: str) -> None:
    """All grants on a key that is destroyed."""
    session.execute(delete(Grant).where(Grant.key_id == key_id))


def _grant(session: Session, cmk: Cmk, grant_id: str) -> Grant:
    grant = session.get(Grant, grant_id)
    if grant is None or grant.key_id != cmk.id:
        raise GrantKeyMismatch(name=cmk.alias, grant_id=grant_id)
    return grant


def _may_retire(call: Call, grant: Grant) -> bool:
    mine = {call.user_id, call.domain_id}
    return (
        grant.issuer == call.user_id
        or grant.retiring_principal in mine
        or (is_grantee(call, grant) and GrantOperation.RETIRE_GRANT in grant.operations)
    )


def _count(session: Session, where: ColumnElement[bool]) -> int:
    return session.scalar(select(func.count(Grant.id)).where(where)) or 0


def _page(session: Session, where: ColumnElement[bool], limit: int, offset: int) -> FoundGrants:
    page = select(Grant).where(where).order_by(Grant.created_at.desc(), Grant.id)
    found = session.scalars(page.limit(limit).offset(offset))
    return FoundGrants([_details(grant) for grant in found], _count(session, where))


def _details(grant: Grant) -> GrantDetails:
    return GrantDetails(
        key_id=grant.key_id,
        grant_id=grant.id,
        grantee=grant.grantee,
        grantee_type=grant.grantee_type,
        operations=grant.operations,
        issuer=grant.issuer,
        created_at=grant.created_at,
        name=grant.name,
        retiring_principal=grant.retiring_principal,
    )
