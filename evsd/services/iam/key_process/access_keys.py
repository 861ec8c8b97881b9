"""Access keys (AK/SK): made, listed, changed, and signatures and secrets checked.

Who may ask for whose keys is decided before, by the API; here a key belongs to a user, and an
`owner` narrows what is found to that user's keys.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from evsd.errors import CallerUnknown
from evsd.key_channel.call import Call
from evsd.key_channel.tickets import ticket_digest
from evsd.key_process import envelope
from evsd.key_process.own_key import SERVICE_KEY_ID, service_key
from evsd.key_process.token.token import Token
from evsd.key_process.use_records import UsageLog
from evsd.services.iam.errors import IamNotFound
from evsd.services.iam.operations import (
    AccessKeyDetails,
    CheckSecret,
    CheckSignature,
    CreateAccessKey,
    CreateTemporaryKey,
    DeleteAccessKey,
    ListAccessKeys,
    NewAccessKey,
    ShowAccessKey,
    ShownAccessKey,
    Signer,
    TemporaryKey,
    UpdateAccessKey,
    published_time,
)
from evsd.services.iam.tables import AccessKey, Agency, User
from evsd.signature import sign
from evsd.store.cache import Cache
from evsd.store.database import Database, utcnow

# How exact the time of the last use is: a write for each request would cost more than the request.
LAST_USE_STEP = timedelta(minutes=15)


class AccessKeyService:
    """Access keys of all users; their secrets leave this process once, when they are made."""

    def __init__(self, database: Database, token: Token, usage: UsageLog) -> None:
        self._database, self._token, self._used = database, token, usage.used
        self._secrets: dict[str, str] = {}  # opened ones, by AK
        self._records = Cache(database, _by_access)

    @CreateAccessKey.handler
    def create_access_key(self, call: Call, request: CreateAccessKey) -> NewAccessKey:
        """A new AK/SK pair for a user; the secret is told this once. Raises `IamNotFound`."""
        wanted = AccessKey(user_id=request.user_id, description=request.description)
        record, secret = self._create(call, "create-access-key", wanted)
        return NewAccessKey(_details(record), secret)

    @CreateTemporaryKey.handler
    def create_temporary_key(self, call: Call, request: CreateTemporaryKey) -> TemporaryKey:
        """A pair with a security token and an end; acts as the agency if one is given."""
        token = envelope.new_security_token()
        expires_at = utcnow() + timedelta(seconds=request.seconds)
        record, secret = self._create(
            call,
            "create-temporary-key",
            AccessKey(
                user_id=request.user_id,
                agency_id=request.agency_id,
                expires_at=expires_at,
                token_sha256=ticket_digest(token),
            ),
        )
        return TemporaryKey(record.access, secret, token, published_time(expires_at))

    def _create(self, call: Call, action: str, record: AccessKey) -> tuple[AccessKey, str]:
        record.access, secret = envelope.new_access_key()
        record.created_at = utcnow()
        context = {"access": record.access}
        key = service_key(self._token)
        with (
            self._database.transaction() as session,
            self._used(call, action, SERVICE_KEY_ID) as use,
        ):
            use.context = _described(record)
            use.key_domain_id = _trusting_domain(session, record)
            session.execute(delete(AccessKey).where(AccessKey.expires_at < record.created_at))
            record.wrapped_secret = envelope.wrap(key, SERVICE_KEY_ID, 1, secret.encode(), context)
            session.add(record)
            try:
                session.flush()
            except IntegrityError as error:
                raise IamNotFound(what="user", name=record.user_id) from error
        return record, secret

    @ListAccessKeys.handler
    def list_access_keys(self, _call: Call, request: ListAccessKeys) -> list[AccessKeyDetails]:
        """A user's permanent access keys, without their secrets."""
        query = select(AccessKey).where(
            AccessKey.user_id == request.user_id, AccessKey.expires_at.is_(None)
        )
        with self._database.reading() as session:
            found = session.scalars(query.order_by(AccessKey.created_at))
            return [_details(record) for record in found]

    @ShowAccessKey.handler
    def show_access_key(self, call: Call, request: ShowAccessKey) -> ShownAccessKey:
        """One permanent key of the caller's domain, and when it was last used."""
        with self._database.reading() as session:
            record = _find(session, call, request.access, request.owner)
            used = record.last_used_at
            return ShownAccessKey(_details(record), None if used is None else published_time(used))

    @UpdateAccessKey.handler
    def update_access_key(self, call: Call, request: UpdateAccessKey) -> AccessKeyDetails:
        """Stop a key at once, let it be used again, or describe it anew."""
        access, active, description = request.access, request.active, request.description
        with (
            self._database.transaction() as session,
            self._used(call, "update-access-key", SERVICE_KEY_ID, {"access": access}) as use,
        ):
            record = _find(session, call, access, request.owner)
            record.active = record.active if active is None else active
            use.context = {**_described(record), "status": _status(record)}
            record.description = record.description if description is None else description
        return _details(record)

    @DeleteAccessKey.handler
    def delete_access_key(self, call: Call, request: DeleteAccessKey) -> None:
        """End an access key; raises `IamNotFound`."""
        access = request.access
        with (
            self._database.transaction() as session,
            self._used(call, "delete-access-key", SERVICE_KEY_ID, {"access": access}) as use,
        ):
            record = _find(session, call, access, request.owner)
            use.context = _described(record)
            session.delete(record)
        self._secrets.pop(access, None)

    # --- who calls -----------------------------------------------------------------------------

    @CheckSignature.handler
    def check_signature(self, call: Call, request: CheckSignature) -> Signer:
        """Who signed one of the texts; raises `CallerUnknown`. The secret stays in this process."""
        record = self._usable(request.access, request.token)
        secret = self._secret(call, record)
        # All of them, whichever it is: how long it takes tells nothing.
        matches = [
            envelope.same_secret(sign(secret, text), request.signature) for text in request.texts
        ]
        if not any(matches):
            raise CallerUnknown(reason="signature verification failed")
        return self._signer(record)

    @CheckSecret.handler
    def check_secret(self, call: Call, request: CheckSecret) -> Signer:
        """Who has sent an access key with its secret; raises `CallerUnknown`."""
        record = self._usable(request.access, request.token)
        if not envelope.same_secret(self._secret(call, record), request.secret):
            raise CallerUnknown(reason=f"this is not the secret of access key {record.access}")
        return self._signer(record)

    def _usable(self, access: str, token: str | None) -> AccessKey:
        record = self._records(access)
        if record is None:
            self._secrets.pop(access, None)
            raise CallerUnknown(reason=f"access key {access} does not exist")
        if not record.active:
            raise CallerUnknown(reason=f"access key {access} is inactive")
        self._check_token(record, token)
        return record

    def _signer(self, record: AccessKey) -> Signer:
        self._note_use(record)
        return Signer(record.user_id, record.agency_id, temporary=record.expires_at is not None)

    def _check_token(self, record: AccessKey, token: str | None) -> None:
        if record.token_sha256 is None or record.expires_at is None:
            if token is not None:
                raise CallerUnknown(reason=f"access key {record.access} has no security token")
            return
        if token is None:
            raise CallerUnknown(reason="X-Security-Token is missing")
        if not envelope.same_secret(ticket_digest(token), record.token_sha256):
            raise CallerUnknown(reason="token decryption failed")
        if record.expires_at <= utcnow():
            self._secrets.pop(record.access, None)
            raise CallerUnknown(
                reason=f"the security token has expired at {published_time(record.expires_at)}"
            )

    def _note_use(self, record: AccessKey) -> None:
        now = utcnow()
        if record.last_used_at is not None and now - record.last_used_at < LAST_USE_STEP:
            return
        with self._database.transaction() as session:
            used = session.get(AccessKey, record.access)
            if used is not None:
                used.last_used_at = now

    def _secret(self, call: Call, record: AccessKey) -> str:
        if record.access not in self._secrets:
            context = {"access": record.access}
            try:
                parsed = envelope.parse(record.wrapped_secret)
                secret = envelope.unwrap(service_key(self._token), parsed, context)
            except envelope.EnvelopeError as error:
                raise CallerUnknown(reason=f"access key {record.access} can't be opened") from error
            # Done, but not used before it is recorded. Where it fails, that is a failed
            # authentication, of which strangers must not be able to make a record each.
            with self._used(call, "open-access-key", SERVICE_KEY_ID, context):
                pass
            self._secrets[record.access] = secret.decode()
        return self._secrets[record.access]


def _described(record: AccessKey) -> dict[str, str]:
    """An access key as a record of the log tells of it."""
    facts = {"access": record.access, "user_id": record.user_id}
    if record.agency_id is not None:
        facts["agency_id"] = record.agency_id
    if record.expires_at is not None:
        facts["expires_at"] = published_time(record.expires_at)
    return facts


def _trusting_domain(session: Session, record: AccessKey) -> str:
    """The domain as whose agency the key acts, which sees that in the log too."""
    agency = session.get(Agency, record.agency_id) if record.agency_id is not None else None
    return agency.domain_id if agency is not None else ""


def _by_access(session: Session, access: str) -> AccessKey | None:
    return session.get(AccessKey, access)


def _find(session: Session, call: Call, access: str, owner: str | None) -> AccessKey:
    """A permanent key of the caller's domain; raises `IamNotFound`, for another's too."""
    query = (
        select(AccessKey)
        .join(User)
        .where(
            AccessKey.access == access,
            AccessKey.expires_at.is_(None),
            User.domain_id == call.domain_id,
        )
    )
    if owner is not None:
        query = query.where(AccessKey.user_id == owner)
    record = session.scalars(query).first()
    if record is None:
        raise IamNotFound(what="access key", name=access)
    return record


def _details(record: AccessKey) -> AccessKeyDetails:
    return AccessKeyDetails(
        access=record.access,
        user_id=record.user_id,
        status=_status(record),
        description=record.description,
        create_time=published_time(record.created_at),
    )


def _status(record: AccessKey) -> str:
    return "active" if record.active else "inactive"
