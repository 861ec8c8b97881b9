"""CMKs as every operation meets them: found, checked, used and changed in one way.

A CMK is a record and, for each of its versions, an object on the token. This is the one place
that knows who may see which key, and what its objects are called on the token.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import select
from sqlalchemy.orm import Session

from evsd.key_channel.call import Call
from evsd.key_channel.shared import Context
from evsd.key_process import envelope
from evsd.key_process.envelope import Purpose
from evsd.key_process.token.labels import key_label
from evsd.key_process.token.token import Token, TokenKey
from evsd.key_process.use_records import UsageLog, Use
from evsd.policy import roles_with
from evsd.services.kms.errors import (
    CiphertextInvalid,
    DefaultKeyFixed,
    KeyDestroyed,
    KeyNotFound,
    KmsForbidden,
)
from evsd.services.kms.key_process.key_usable import check_usable
from evsd.services.kms.permissions import GRANTABLE, GrantOperation
from evsd.services.kms.states import KeyState
from evsd.services.kms.tables import Cmk, Grant, KeyVersion
from evsd.store.cache import Cache
from evsd.store.database import Database, utcnow

ALIAS_PREFIX = "alias/"
# What a destroyed key's alias ends in, so that the alias is free again; no alias may hold a "#".
DESTROYED_MARK = "#"


class KeyStore:
    """Records and objects of all CMKs."""

    def __init__(self, database: Database, token: Token, usage: UsageLog) -> None:
        self.database, self.token, self.used = database, token, usage.used
        self._records: Cache[str, Cmk | None] = Cache(
            database, lambda session, key_id: session.get(Cmk, key_id)
        )

    @contextmanager
    def using(
        self, call: Call, operation: GrantOperation, key_id: str, context: Context = ""
    ) -> Iterator[tuple[Use, Cmk]]:
        """One recorded use of a key that may be used now by this caller; raises what forbids it."""
        with self.used(call, operation, key_id, context, durable=False) as use:
            cmk = self.usable(call, operation, key_id)
            use.of(cmk)
            yield use, cmk

    @contextmanager
    def changing(
        self, call: Call, action: str, key_id: str, context: Context = ""
    ) -> Iterator[tuple[Session, Cmk]]:
        """One recorded change of a custom key of the caller's project; raises `DefaultKeyFixed`."""
        with (
            self.database.transaction() as session,
            self.used(call, action, key_id, context) as use,
        ):
            cmk = find(session, call, key_id)
            use.of(cmk)
            if cmk.is_default:
                raise DefaultKeyFixed(name=cmk.alias)
            yield session, cmk

    def usable(self, call: Call, operation: GrantOperation | None, key_id: str) -> Cmk:
        """The key, if the caller may use it and its state allows that.

        Another project's key only if it was granted for `operation`.
        """
        cmk = self._records(key_id)
        if cmk is None or cmk.project_id != call.project_id or call.by_grant:
            with self.database.reading() as session:
                cmk = find(session, call, key_id, operation)
        else:
            _check_there(cmk)
        check_usable(cmk)
        return cmk

    def wrap(
        self, cmk: Cmk, data: bytes, context: Context, purpose: Purpose = Purpose.DATA_KEY
    ) -> bytes:
        """Encrypt under the newest version of the key."""
        key = self.token_key(cmk.id, cmk.version)
        return envelope.wrap(key, cmk.id, cmk.version, data, context, purpose)

    def unwrap(
        self,
        use: Use,
        cmk: Cmk,
        wrapped: bytes,
        context: Context,
        purpose: Purpose = Purpose.DATA_KEY,
    ) -> bytes:
        """Decrypt under the version that encrypted; raises `CiphertextInvalid`."""
        try:
            parsed = envelope.parse(wrapped, purpose)
            if parsed.key_id != cmk.id or not 1 <= parsed.version <= cmk.version:
                raise envelope.EnvelopeError("another key encrypted it")
            use.version = parsed.version
            return envelope.unwrap(self.token_key(cmk.id, parsed.version), parsed, context)
        except envelope.EnvelopeError as error:
            raise CiphertextInvalid(reason=error) from error

    def token_key(self, key_id: str, version: int) -> TokenKey:
        """The object of one version."""
        return self.token.key(key_label(key_id, version))


def find(
    session: Session, call: Call, key_id: str, operation: GrantOperation | None = None
) -> Cmk:  # fmt: skip
    """The key, by id or ``alias/NAME``, if it is the caller's project's or granted for `operation`.

    A foreign key looks like a missing one: raises `KeyNotFound` for both.
    """
    if key_id.startswith(ALIAS_PREFIX):
        cmk = by_alias(session, call.project_id, key_id.removeprefix(ALIAS_PREFIX))
    else:
        cmk = session.get(Cmk, key_id)
    own = cmk is not None and cmk.project_id == call.project_id
    granted = (
        cmk is not None
        and operation is not None
        and (call.by_grant or not own)
        and operation in granted_operations(session, call, cmk.id)
    )
    if cmk is None or not (own or granted):
        raise KeyNotFound(key_id=key_id)
    if call.by_grant and not granted:
        raise forbidden(call, operation or GrantOperation.DESCRIBE_KEY)
    _check_there(cmk)
    return cmk


def _check_there(cmk: Cmk) -> None:
    if cmk.status == KeyState.DESTROYED:
        alias, _, _ = cmk.alias.partition(DESTROYED_MARK)
        raise KeyDestroyed(key_id=cmk.id, name=alias, date=f"{cmk.deletion_at:%Y-%m-%d}")


def by_alias(session: Session, project_id: str, alias: str) -> Cmk | None:
    """The project's key of this alias."""
    query = select(Cmk).where(Cmk.project_id == project_id, Cmk.alias == alias)
    return session.scalars(query).first()


def forbidden(call: Call, operation: GrantOperation) -> KmsForbidden:
    """What a caller is told whom neither a role nor a grant allows an operation."""
    roles = roles_with(GRANTABLE[operation])
    return KmsForbidden(user=call.principal, permission=operation, roles=roles)


def is_grantee(call: Call, grant: Grant) -> bool:
    """Whether a grant is the caller's, by name or by domain."""
    return grant.grantee == (call.user_id if grant.grantee_type == "user" else call.domain_id)


def granted_operations(session: Session, call: Call, key_id: str) -> set[str]:
    """What all grants on the key together allow the caller."""
    grants = session.scalars(select(Grant).where(Grant.key_id == key_id))
    return {
        operation for grant in grants if is_grantee(call, grant) for operation in grant.operations
    }


def destroy_objects(keys: KeyStore, key_id: str) -> None:
    """Destroy all objects of a key whose record has given them up.

    Also those that no record knows, which an interrupted rotation or import has left.
    """
    with keys.database.transaction() as session:
        cmk = session.get_one(Cmk, key_id)
        for version in range(1, cmk.version + 2):
            keys.token.destroy(key_label(key_id, version))
        for record in versions(session, key_id):
            record.gone_at = utcnow()


def versions(session: Session, key_id: str) -> list[KeyVersion]:
    """The versions of a key whose objects are on the token, oldest first."""
    query = select(KeyVersion).where(KeyVersion.key_id == key_id, KeyVersion.gone_at.is_(None))
    return list(session.scalars(query.order_by(KeyVersion.version)))
