"""The operations on CMKs, as the key process carries them out.

Results are plain dictionaries, ready for the socket; binary values are hex text. Each operation
that touches a key is one audit record, written before the answer leaves: if the log can't be
written the caller gets an error instead of a key.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from evsd.audit.log import AuditLog
from evsd.errors import (
    AliasExists,
    BadCiphertext,
    DatakeyCipherLength,
    DefaultKeyFixed,
    IamNotFound,
    KeyDisabled,
    KeyNotDisabled,
    KeyNotEnabled,
    KeyNotFound,
    KeyPendingDeletion,
    NotDelegated,
    NotSigned,
    PublishedError,
    TooManyKeys,
)
from evsd.iam.agencies import delegated
from evsd.iam.signature import sign
from evsd.kms import crypto
from evsd.kms.call import Call
from evsd.kms.states import KEY_STATES, KeyEvent, KeyState
from evsd.kms.token import Token, TokenKey
from evsd.store.database import Database, utcnow
from evsd.store.tables import AccessKey, Cmk, Domain, Project
from evsd.store.transitions import advance

VOLUME_DEFAULT_ALIAS = "evs/default"
VOLUME_KEY_BITS = 512
KEY_QUOTA = 100
# The service's own key, which wraps the secrets of access keys; no tenant has a CMK of this id.
ACCESS_KEYS_ID = "00000000-0000-0000-0000-000000000001"

Result = dict[str, Any]
Context = Mapping[str, str] | str


@dataclass(slots=True)
class Use:
    """What the audit record of one use will say; filled in as the operation learns it."""

    key_id: str = ""
    version: int | None = None
    context: Context = field(default_factory=dict)


class KeyService:
    """Keys of all tenants: their records, their life, and what is done under them."""

    def __init__(self, database: Database, token: Token, audit: AuditLog) -> None:
        self._database, self._token, self._audit = database, token, audit
        self._secrets: dict[str, str] = {}  # opened access keys, by AK

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
            self.used(call, f"{event}-key", key_id) as use,
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
        self._token.generate(_label(cmk.id, cmk.version))
        try:
            with self._database.transaction() as session, self.used(call, "create-key") as use:
                use.key_id, use.version = cmk.id, cmk.version
                session.add(cmk)
                session.flush()
        except IntegrityError as error:
            self._token.destroy(_label(cmk.id, cmk.version))
            raise AliasExists(alias=alias) from error
        return cmk

    # --- data keys -----------------------------------------------------------------------------

    def create_datakey(
        self, call: Call, key_id: str, bits: int, context: Context, plaintext: bool
    ) -> Result:
        """A new data key of `bits` bits: wrapped, and in clear only if `plaintext`."""
        action = "create-datakey" if plaintext else "create-datakey-without-plaintext"
        with self.used(call, action, key_id, context) as use:
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
        with self.used(call, "decrypt-datakey", key_id, context) as use:
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
        with self.used(call, "create-volume-key", key_id or "", context) as use:
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
        with self.used(call, action, key_id, context) as use:
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

    # --- access keys ---------------------------------------------------------------------------

    def create_access_key(self, call: Call, description: str) -> Result:
        """A new AK/SK pair for the caller; the secret is told this once."""
        access, secret = crypto.new_access_key()
        context = {"access": access}
        key = self._access_keys_key()
        with (
            self._database.transaction() as session,
            self.used(call, "create-access-key", ACCESS_KEYS_ID, context),
        ):
            record = AccessKey(
                access=access,
                domain_id=call.domain_id,
                user_name=call.principal,
                wrapped_secret=crypto.wrap(key, ACCESS_KEYS_ID, 1, secret.encode(), context),
                description=description,
                created_at=utcnow(),
            )
            session.add(record)
        return {**_credential(record), "secret": secret}

    def list_access_keys(self, call: Call) -> Result:
        """The caller's access keys, without their secrets."""
        query = select(AccessKey).where(
            AccessKey.domain_id == call.domain_id, AccessKey.user_name == call.principal
        )
        with self._database.reading() as session:
            found = session.scalars(query.order_by(AccessKey.created_at))
            return {"credentials": [_credential(record) for record in found]}

    def delete_access_key(self, call: Call, access: str) -> Result:
        """End an access key of the caller's; raises `IamNotFound`."""
        owner = (call.domain_id, call.principal)
        with (
            self._database.transaction() as session,
            self.used(call, "delete-access-key", ACCESS_KEYS_ID, {"access": access}),
        ):
            record = session.get(AccessKey, access)
            if record is None or (record.domain_id, record.user_name) != owner:
                raise IamNotFound(what="access key", name=access)
            session.delete(record)
        self._secrets.pop(access, None)
        return {}

    def check_signature(self, call: Call, access: str, text: str, signature: str) -> Result:
        """Who signed `text`; raises `NotSigned`. The secret stays in this process."""
        with self._database.reading() as session:
            record = session.get(AccessKey, access)
        if record is None:
            raise NotSigned(reason=f"access key {access} does not exist")
        if not crypto.same_secret(sign(self._secret(call, record), text), signature):
            raise NotSigned(reason="signature verification failed")
        return {"user_name": record.user_name, "domain_id": record.domain_id}

    def _secret(self, call: Call, record: AccessKey) -> str:
        if record.access not in self._secrets:
            context = {"access": record.access}
            with self.used(call, "open-access-key", ACCESS_KEYS_ID, context):
                try:
                    envelope = crypto.parse(record.wrapped_secret)
                    secret = crypto.unwrap(self._access_keys_key(), envelope, context)
                except crypto.EnvelopeError as error:
                    raise NotSigned(reason=f"access key {record.access} can't be opened") from error
            self._secrets[record.access] = secret.decode()
        return self._secrets[record.access]

    def _access_keys_key(self) -> TokenKey:
        return self._token.ensure(_label(ACCESS_KEYS_ID, 1))

    # --- shared --------------------------------------------------------------------------------

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
        return self._token.key(_label(key_id, version))


# What evsd may ask for over the control channel; everything else is refused.
OPERATIONS: dict[str, Callable[..., Result]] = {
    operation.__name__: operation
    for operation in (
        KeyService.create_key,
        KeyService.list_keys,
        KeyService.describe_key,
        KeyService.enable_key,
        KeyService.disable_key,
        KeyService.create_datakey,
        KeyService.decrypt_datakey,
        KeyService.create_volume_key,
        KeyService.check_volume_key,
        KeyService.create_access_key,
        KeyService.list_access_keys,
        KeyService.delete_access_key,
        KeyService.check_signature,
    )
}


def _label(key_id: str, version: int) -> str:
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


def _credential(record: AccessKey) -> Result:
    return {
        "access": record.access,
        "user_id": record.user_name,
        "status": "active",
        "description": record.description,
        "create_time": record.created_at.isoformat() + "Z",
    }


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
