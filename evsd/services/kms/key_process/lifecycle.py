"""The life of a CMK: made, shown, renamed, enabled, disabled, scheduled for deletion."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from evsd.errors import PublishedError
from evsd.key_channel.call import Call
from evsd.key_process.token.labels import key_label
from evsd.services.kms.consumers import dependents_of
from evsd.services.kms.errors import (
    AliasExists,
    KeyNotDeletable,
    KeyNotDisabled,
    KeyNotEnabled,
    KeyNotPendingDeletion,
    KeyPendingDeletion,
    KeyQuotaExceeded,
)
from evsd.services.kms.key_process.grants import GRANT_QUOTA
from evsd.services.kms.key_process.key_store import KeyStore, by_alias, find, versions
from evsd.services.kms.operations import (
    CancelKeyDeletion,
    CreateKey,
    Dependent,
    DescribeKey,
    DisableKey,
    EnableKey,
    KeyDetails,
    Keys,
    ListKeyDependents,
    ListKeys,
    Quota,
    Quotas,
    ScheduleKeyDeletion,
    StateOfKey,
    UpdateKeyAlias,
    UpdateKeyDescription,
    UserQuotas,
)
from evsd.services.kms.permissions import GrantOperation
from evsd.services.kms.states import KEY_STATES, KeyEvent, KeyState
from evsd.services.kms.tables import Cmk, Grant, KeyVersion
from evsd.store.database import utcnow
from evsd.store.transitions import advance

KEY_QUOTA = 100
KMS, EXTERNAL = "kms", "external"


class KeyLife:
    """CMKs of all projects."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys

    @CreateKey.handler
    def create_key(self, call: Call, request: CreateKey) -> KeyDetails:
        """Make a CMK; raises `AliasExists`, `KeyQuotaExceeded`."""
        with self._keys.database.reading() as session:
            if _count(session, _custom(call.project_id)) >= KEY_QUOTA:
                raise KeyQuotaExceeded(quota=KEY_QUOTA)
            if by_alias(session, call.project_id, request.alias) is not None:
                raise AliasExists(alias=request.alias)
        return key_details(self.add_key(call, request.alias, request.description, request.origin))

    @ListKeys.handler
    def list_keys(self, call: Call, request: ListKeys) -> Keys:
        """One page of a project's keys, newest first, and how many there are in all."""
        found, state = select(Cmk).where(Cmk.project_id == call.project_id), request.state
        found = found.where(
            Cmk.status == state if state is not None else Cmk.status != KeyState.DESTROYED
        )
        page = found.order_by(Cmk.created_at.desc(), Cmk.id.desc())
        page = page.limit(request.limit).offset(request.offset)
        with self._keys.database.reading() as session:
            total = _count(session, found)
            return Keys([key_details(cmk) for cmk in session.scalars(page)], total)

    @DescribeKey.handler
    def describe_key(self, call: Call, request: DescribeKey) -> KeyDetails:
        """One key's details, and when imported material expires."""
        with self._keys.database.reading() as session:
            cmk = find(session, call, request.key_id, GrantOperation.DESCRIBE_KEY)
            expiring = [v.expires_at for v in versions(session, cmk.id) if v.expires_at]
            return key_details(cmk, expiring[0] if expiring else None)

    @ListKeyDependents.handler
    def list_key_dependents(self, call: Call, request: ListKeyDependents) -> list[Dependent]:
        """What can't be read any more once a key of the caller's project is destroyed."""
        with self._keys.database.reading() as session:
            found = dependents_of(session, find(session, call, request.key_id).id)
        return [Dependent(thing.kind, thing.id, thing.name, thing.since) for thing in found]

    @EnableKey.handler
    def enable_key(self, call: Call, request: EnableKey) -> StateOfKey:
        """Disabled -> enabled; raises `KeyNotDisabled`."""
        action, event = "enable-key", KeyEvent.ENABLE
        return self._change(call, action, request.key_id, event, KeyNotDisabled)

    @DisableKey.handler
    def disable_key(self, call: Call, request: DisableKey) -> StateOfKey:
        """Enabled -> disabled; raises `KeyNotEnabled`."""
        action, event = "disable-key", KeyEvent.DISABLE
        return self._change(call, action, request.key_id, event, KeyNotEnabled)

    @ScheduleKeyDeletion.handler
    def schedule_key_deletion(self, call: Call, request: ScheduleKeyDeletion) -> StateOfKey:
        """Destroy the key `days` days from now; raises `KeyNotDeletable`."""
        key_id, day = request.key_id, utcnow() + timedelta(days=request.days)
        action, event = "schedule-key-deletion", KeyEvent.SCHEDULE_DELETION
        return self._change(call, action, key_id, event, KeyNotDeletable, deletion_at=day)

    @CancelKeyDeletion.handler
    def cancel_key_deletion(self, call: Call, request: CancelKeyDeletion) -> StateOfKey:
        """Pending deletion -> disabled, or pending import if its material has gone meanwhile."""
        key_id, action, event = request.key_id, "cancel-key-deletion", KeyEvent.CANCEL_DELETION
        return self._change(call, action, key_id, event, KeyNotPendingDeletion, deletion_at=None)

    @UpdateKeyAlias.handler
    def update_key_alias(self, call: Call, request: UpdateKeyAlias) -> str:
        """Rename a key; raises `AliasExists`, `KeyPendingDeletion`."""
        alias, action = request.alias, "update-key-alias"
        with self._keys.changing(call, action, request.key_id, {"alias": alias}) as (session, cmk):
            if cmk.status == KeyState.PENDING_DELETION:
                raise KeyPendingDeletion(name=cmk.alias)
            other = by_alias(session, cmk.project_id, alias)
            if other is not None and other.id != cmk.id:
                raise AliasExists(alias=alias)
            cmk.alias = alias
        return cmk.id

    @UpdateKeyDescription.handler
    def update_key_description(self, call: Call, request: UpdateKeyDescription) -> str:
        """Describe a key anew."""
        with self._keys.changing(call, "update-key-description", request.key_id) as (_, cmk):
            cmk.description = request.description
        return cmk.id

    @UserQuotas.handler
    def user_quotas(self, call: Call, _request: UserQuotas) -> Quotas:
        """How much of what a project may have it has."""
        with self._keys.database.reading() as session:
            keys = _count(session, _custom(call.project_id))
            per_key = (
                select(func.count(Grant.id))
                .join(Cmk, Cmk.id == Grant.key_id)
                .where(Cmk.project_id == call.project_id)
                .group_by(Grant.key_id)
            )
            most = max(session.scalars(per_key), default=0)
        return Quotas(keys=Quota(keys, KEY_QUOTA), grants_per_key=Quota(most, GRANT_QUOTA))

    def add_key(
        self, call: Call, alias: str, description: str, origin: str = KMS, *, default: bool = False
    ) -> Cmk:
        """Token object first, record second: a crash between leaves an object nobody ever used."""
        now = utcnow()
        cmk = Cmk(
            id=str(uuid.uuid4()),
            domain_id=call.domain_id,
            project_id=call.project_id,
            alias=alias,
            description=description,
            status=KeyState.ENABLED if origin == KMS else KeyState.PENDING_IMPORT,
            is_default=default,
            version=1,
            origin=origin,
            created_at=now,
        )
        first = None
        if origin == KMS:
            made = self._keys.token.generate(key_label(cmk.id, 1))
            first = KeyVersion(key_id=cmk.id, version=1, profile=made.profile, created_at=now)
        try:
            with (
                self._keys.database.transaction() as session,
                self._keys.used(call, "create-key", cmk.id, {"alias": alias}) as use,
            ):
                use.of(cmk)
                session.add(cmk)
                try:
                    session.flush()
                except IntegrityError as error:
                    raise AliasExists(alias=alias) from error
                if first is not None:
                    session.add(first)
        except Exception:
            if first is not None:
                self._keys.token.destroy(key_label(cmk.id, 1))
            raise
        return cmk

    def _change(
        self,
        call: Call,
        action: str,
        key_id: str,
        event: KeyEvent,
        refused: type[PublishedError],
        **changes: datetime | None,
    ) -> StateOfKey:
        day = changes.get("deletion_at")
        context = {"deletion_at": day.isoformat()} if day else ""
        with self._keys.changing(call, action, key_id, context) as (session, cmk):
            if not advance(session, cmk, KEY_STATES, event, **changes):
                raise refused(name=cmk.alias, state=KeyState(cmk.status).word)
            if cmk.origin == EXTERNAL and not versions(session, cmk.id):
                advance(session, cmk, KEY_STATES, KeyEvent.LOSE_MATERIAL)
        return StateOfKey(cmk.id, cmk.status)


def key_details(cmk: Cmk, expires_at: datetime | None = None) -> KeyDetails:
    """What evsd is told of a key."""
    return KeyDetails(
        key_id=cmk.id,
        domain_id=cmk.domain_id,
        alias=cmk.alias,
        description=cmk.description,
        created_at=cmk.created_at,
        deletion_at=cmk.deletion_at,
        state=cmk.status,
        is_default=cmk.is_default,
        origin=cmk.origin,
        rotated=cmk.rotation_days is not None,
        version=cmk.version,
        expires_at=expires_at,
    )


def _custom(project_id: str) -> Select[Any]:
    """The keys that count: neither default ones nor destroyed ones."""
    return select(Cmk).where(
        Cmk.project_id == project_id,
        Cmk.is_default.is_(False),
        Cmk.status != KeyState.DESTROYED,
    )


def _count(session: Session, found: Select[Any]) -> int:
    return session.scalar(found.with_only_columns(func.count(), maintain_column_froms=True)) or 0
