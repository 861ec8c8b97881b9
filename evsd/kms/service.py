"""The operations on CMKs, as the key process carries them out.

Results are plain dictionaries, ready for the socket; binary values are hex text. Each operation
that touches a key is one audit record, written before the answer leaves: if the log can't be
written the caller gets an error instead of a key.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from evsd.errors import (
    AliasExists,
    BadCiphertext,
    DatakeyCipherLength,
    DefaultKeyFixed,
    KeyDisabled,
    KeyNotDisabled,
    KeyNotEnabled,
    KeyNotFound,
    KeyPendingDeletion,
    NotDelegated,
    PublishedError,
    TooManyKeys,
)
from evsd.iam.agencies import delegated
from evsd.kms import crypto
from evsd.kms.call import Call
from evsd.kms.states import KEY_STATES, KeyEvent, KeyState
from evsd.kms.token import Token, TokenKey
from evsd.kms.usage import Context, UsageLog, Use
from evsd.store.database import Database, utcnow
from evsd.store.tables import Cmk, Domain, Project
from evsd.store.transitions import advance

VOLUME_DEFAULT_ALIAS = "evs/default"
VOLUME_KEY_BITS = 512
KEY_QUOTA = 100

Result = dict[str, Any]
Operation = Callable[..., Result]


class KeyService:
    """Keys of all tenants: their records, their life, and what is done under them."""

    def __init__(self, database: Database, token: Token, usage: UsageLog) -> None:
        self._database, self._token, self._used = database, token, usage.used

    @property
    def operations(self) -> dict[str, Operation]:
        """What evsd may ask for over the control channel, by name."""
        return {
            "create_key": self.create_key,
            "list_keys": self.list_keys,
            "describe_key": self.describe_key,
            "enable_key": self.enable_key,
            "disable_key": self.disable_key,
            "create_datakey": self.create_datakey,
            "decrypt_datakey": self.decrypt_datakey,
            "create_volume_key": self.create_volume_key,
            "check_volume_key": self.check_volume_key,
        }

    # --- the life of a key ---------------------------------------------------------------------

    def create_key(self, call: Call, alias: str, description: str) -> Result:
        """Make a CMK; raises `AliasExists`, `TooManyKeys`."""
        with self._database.reading() as session:
            if _custom_keys(session, call.project_id) >= KEY_QUOTA:
                raise TooManyKeys(quota=KEY_QUOTA)
            if _by_alias(session, call.project_id, alias) is not None:
                raise AliasExists(alias=alias)
        return _details(self._add_key(call, alias, description, is_default=False))

    def list_keys(self, call: Call, state: str | None, limit: int, offset: int) -> Result:
        """One page of a project's keys, newest first, and how many there are in all."""
        where = [Cmk.project_id == call.project_id]
        if state is not None:
            where.append(Cmk.status == state)
        page = select(Cmk).where(*where).order_by(Cmk.created_at.desc(), Cmk.id)
        with self._database.reading() as session:
            total = session.scalar(select(func.count()).select_from(Cmk).where(*where))
            keys = session.scalars(page.limit(limit).offset(offset))
            return {"keys": [_details(cmk) for cmk in keys], "total": total}

    def describe_key(self, call: Call, key_id: str) -> Result:
        """One key's details."""
        with self._database.reading() as session:
            return _details(_find(session, call, key_id))

    def enable_key(self, call: Call, key_id: str) -> Result:
        """Disabled -> enabled; raises `KeyNotDisabled`."""
        return self._change(call, key_id, KeyEvent.ENABLE, KeyNotDisabled)

    def disable_key(self, call: Call, key_id: str) -> Result:
        """Enabled -> disabled; raises `KeyNotEnabled`."""
        return self._change(call, key_id, KeyEvent.DISABLE, KeyNotEnabled)

    def _change(
        self, call: Call, key_id: str, event: KeyEvent, refused: type[PublishedError]
    ) -> Result:
        with (
            self._database.transaction() as session,
            self._used(call, f"{event}-key", key_id) as use,
        ):
            cmk = _find(session, call, key_id)
            use.version = cmk.version
            if cmk.is_default:
                raise DefaultKeyFixed(name=cmk.alias)
            if not advance(session, cmk, KEY_STATES, event):
                raise refused(name=cmk.alias, state=KeyState(cmk.status).word)
        return {"key_id": key_id, "key_state": cmk.status}

    def _add_key(self, call: Call, alias: str, description: str, *, is_default: bool) -> Cmk:
        """Key first, record second: a crash between them leaves an object nobody ever used."""
        cmk = Cmk(
            id=str(uuid.uuid4()),
            domain_id=call.domain_id,
            project_id=call.project_id,
            alias=alias,
            description=description,
            status=KeyState.ENABLED,
            is_default=is_default,
            version=1,
            created_at=utcnow(),
        )
        self._token.generate(key_label(cmk.id, cmk.version))
        try:
            with self._database.transaction() as session, self._used(call, "create-key") as use:
                use.key_id, use.version = cmk.id, cmk.version
                session.add(cmk)
                session.flush()
        except IntegrityError as error:
            self._token.destroy(key_label(cmk.id, cmk.version))
            raise AliasExists(alias=alias) from error
        return cmk

    # --- data keys -----------------------------------------------------------------------------

    def create_datakey(
        self, call: Call, key_id: str, bits: int, context: Context, plaintext: bool
    ) -> Result:
        """A new data key of `bits` bits: wrapped, and in clear only if `plaintext`."""
        action = "create-datakey" if plaintext else "create-datakey-without-plaintext"
        with self._used(call, action, key_id, context) as use:
            cmk = self._usable(call, key_id)
            use.version = cmk.version
            data_key = crypto.new_data_key(bits)
            result = {"key_id": cmk.id, "cipher_text": self._wrap(cmk, data_key, context).hex()}
            if plaintext:
                result["plain_text"] = data_key.hex()
        return result

    def decrypt_datakey(
        self, call: Call, key_id: str, cipher_text: str, length: int, context: Context
    ) -> Result:
        """The data key in clear, if key, context and length are the right ones."""
        with self._used(call, "decrypt-datakey", key_id, context) as use:
            cmk = self._usable(call, key_id)
            data_key = self._unwrap(use, cmk, bytes.fromhex(cipher_text), context)
            if len(data_key) != length:
                raise DatakeyCipherLength(value=length)
        return {"data_key": data_key.hex()}

    # --- the volume service's use of keys ------------------------------------------------------

    def create_volume_key(self, call: Call, key_id: str | None, context: Context) -> Result:
        """A volume's data key, wrapped, and its LUKS2 digest; the clear one never leaves here.

        Without `key_id` the project's default key is used, and made on the first use.
        """
        with self._used(call, "create-volume-key", key_id or "", context) as use:
            self.require_delegation(call.project_id)
            cmk = self._usable(call, key_id) if key_id else self._default_key(call)
            use.key_id, use.version = cmk.id, cmk.version
            self._check_state(cmk)
            data_key = crypto.new_data_key(VOLUME_KEY_BITS)
            wrapped, digest = self._wrap(cmk, data_key, context), crypto.volume_key_digest(data_key)
        return {
            "cmk_id": cmk.id,
            "cmk_version": cmk.version,
            "wrapped_dek": wrapped.hex(),
            "digest_salt": digest.salt.hex(),
            "digest_iterations": digest.iterations,
            "digest": digest.value.hex(),
        }

    def check_volume_key(
        self, call: Call, key_id: str, wrapped_dek: str, context: Context
    ) -> Result:
        """Whether a volume could be attached now: delegation, key and envelope; raises if not."""
        self.unwrap_volume_key(
            call, "check-volume-key", key_id, bytes.fromhex(wrapped_dek), context
        )
        return {}

    def unwrap_volume_key(
        self, call: Call, action: str, key_id: str, wrapped_dek: bytes, context: Context
    ) -> bytes:
        """A volume's data key in clear, for the key process alone."""
        with self._used(call, action, key_id, context) as use:
            self.require_delegation(call.project_id)
            return self._unwrap(use, self._usable(call, key_id), wrapped_dek, context)

    def require_delegation(self, project_id: str) -> None:
        """Raise `NotDelegated` unless the volume service may use keys in the project."""
        with self._database.reading() as session:
            if not delegated(session, project_id):
                project = session.get_one(Project, project_id)
                domain = session.get_one(Domain, project.domain_id)
                raise NotDelegated(project=project.name, domain=domain.name)

    def _default_key(self, call: Call) -> Cmk:
        with self._database.reading() as session:
            cmk = _by_alias(session, call.project_id, VOLUME_DEFAULT_ALIAS)
        return cmk or self._add_key(
            call, VOLUME_DEFAULT_ALIAS, "default key of the volume service", is_default=True
        )

    # --- shared --------------------------------------------------------------------------------

    def _usable(self, call: Call, key_id: str) -> Cmk:
        with self._database.reading() as session:
            cmk = _find(session, call, key_id)
        self._check_state(cmk)
        return cmk

    @staticmethod
    def _check_state(cmk: Cmk) -> None:
        refusal = {
            KeyState.DISABLED: KeyDisabled,
            KeyState.PENDING_DELETION: KeyPendingDeletion,
        }.get(KeyState(cmk.status))
        if refusal is not None:
            raise refusal(name=cmk.alias)

    def _wrap(self, cmk: Cmk, data_key: bytes, context: Context) -> bytes:
        key = self._token_key(cmk.id, cmk.version)
        return crypto.wrap(key, cmk.id, cmk.version, data_key, context)

    def _unwrap(self, use: Use, cmk: Cmk, wrapped: bytes, context: Context) -> bytes:
        try:
            envelope = crypto.parse(wrapped)
            if envelope.key_id != cmk.id or not 1 <= envelope.version <= cmk.version:
                raise crypto.EnvelopeError("another key encrypted it")
            use.version = envelope.version
            return crypto.unwrap(self._token_key(cmk.id, envelope.version), envelope, context)
        except crypto.EnvelopeError as error:
            raise BadCiphertext(reason=error) from error

    def _token_key(self, key_id: str, version: int) -> TokenKey:
        return self._token.key(key_label(key_id, version))


def key_label(key_id: str, version: int) -> str:
    """What the key is called on the token."""
    return f"cmk/{key_id}/{version}"


def has_keys(database: Database) -> bool:
    """Whether any key was ever made: then its token must be there."""
    with database.reading() as session:
        return session.scalars(select(Cmk.id).limit(1)).first() is not None


def _by_alias(session: Session, project_id: str, alias: str) -> Cmk | None:
    query = select(Cmk).where(Cmk.project_id == project_id, Cmk.alias == alias)
    return session.scalars(query).first()


def _custom_keys(session: Session, project_id: str) -> int:
    query = (
        select(func.count())
        .select_from(Cmk)
        .where(Cmk.project_id == project_id, Cmk.is_default.is_(False))
    )
    return session.scalar(query) or 0


def _find(session: Session, call: Call, key_id: str) -> Cmk:
    """The key, if it is the caller's project's: a foreign one looks like a missing one."""
    cmk = session.get(Cmk, key_id)
    if cmk is None or cmk.project_id != call.project_id:
        raise KeyNotFound(key_id=key_id)
    return cmk


def _details(cmk: Cmk) -> Result:
    return {
        "key_id": cmk.id,
        "domain_id": cmk.domain_id,
        "key_alias": cmk.alias,
        "key_description": cmk.description,
        "creation_date": cmk.created_at.isoformat(),
        "key_state": cmk.status,
        "is_default": cmk.is_default,
        "version": cmk.version,
    }
