"""Tokens that act as a user for some time, for clients that can't sign.

Made and compared here, where what is recorded of it is written. A token is 256 random bits behind
its id; the database has its hash, so that a copy of it lets nobody in.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from evsd.errors import CallerUnknown
from evsd.key_channel.call import Call
from evsd.key_channel.tickets import ticket_digest
from evsd.key_process import envelope
from evsd.key_process.use_records import UsageLog
from evsd.services.iam.errors import IamNotFound
from evsd.services.iam.operations import (
    CheckToken,
    CreateToken,
    ListTokens,
    NewToken,
    RevokeToken,
    Signer,
    TokenDetails,
    published_time,
)
from evsd.services.iam.tables import AccessKey, BearerToken, User
from evsd.store.cache import Cache
from evsd.store.database import Database, utcnow


class TokenService:
    """Tokens of all users; one leaves this process once, when it is made."""

    def __init__(self, database: Database, usage: UsageLog) -> None:
        self._database, self._used = database, usage.used
        self._usable = Cache(database, _usable)

    @CreateToken.handler
    def create_token(self, call: Call, request: CreateToken) -> NewToken:
        """A token for a user, told this once; raises `IamNotFound`."""
        token_id, token = envelope.new_bearer_token()
        now = utcnow()
        record = BearerToken(
            id=token_id,
            user_id=request.user_id,
            access=request.access,
            token_sha256=ticket_digest(token),
            description=request.description,
            created_at=now,
            expires_at=now + timedelta(seconds=request.seconds),
        )
        with (
            self._database.transaction() as session,
            self._used(call, "create-token", context=_described(record)),
        ):
            _require_own(session, request)
            session.execute(delete(BearerToken).where(BearerToken.expires_at < now))
            session.add(record)
            session.flush()  # what the database refuses must not be recorded as done
        return NewToken(_details(record), token)

    @ListTokens.handler
    def list_tokens(self, _call: Call, request: ListTokens) -> list[TokenDetails]:
        """A user's tokens that have not expired."""
        query = select(BearerToken).where(
            BearerToken.user_id == request.user_id, BearerToken.expires_at > utcnow()
        )
        with self._database.reading() as session:
            found = session.scalars(query.order_by(BearerToken.created_at))
            return [_details(record) for record in found]

    @RevokeToken.handler
    def revoke_token(self, call: Call, request: RevokeToken) -> None:
        """End a token of the caller's domain; raises `IamNotFound`, for another's too."""
        query = (
            select(BearerToken)
            .join(User)
            .where(BearerToken.id == request.id, User.domain_id == call.domain_id)
        )
        if request.owner is not None:
            query = query.where(BearerToken.user_id == request.owner)
        with (
            self._database.transaction() as session,
            self._used(call, "revoke-token", context={"token_id": request.id}) as use,
        ):
            record = session.scalars(query).first()
            if record is None:
                raise IamNotFound(what="token", name=request.id)
            use.context = _described(record)
            session.delete(record)

    @CheckToken.handler
    def check_token(self, _call: Call, request: CheckToken) -> Signer:
        """Whose token it is; raises `CallerUnknown`."""
        record, active = self._usable(request.id)
        digest = None if record is None else record.token_sha256
        if record is None or not envelope.same_secret(ticket_digest(request.token), digest):
            raise CallerUnknown(reason=f"token {request.id} does not exist, or was revoked")
        if record.expires_at <= utcnow():
            raise CallerUnknown(
                reason=f"token {request.id} has expired at {published_time(record.expires_at)}"
            )
        if not active:
            raise CallerUnknown(
                reason=f"access key {record.access} of token {request.id} is inactive"
            )
        return Signer(record.user_id, None, temporary=True)


def _usable(session: Session, token_id: str) -> tuple[BearerToken | None, bool]:
    """A token, and whether the access key it was made with is active."""
    record = session.get(BearerToken, token_id)
    if record is None or record.access is None:
        return record, True
    return record, session.get_one(AccessKey, record.access).active


def _require_own(session: Session, request: CreateToken) -> None:
    """Raise `IamNotFound` for an access key that isn't a permanent one of the user's."""
    if request.access is None:
        return
    key = session.get(AccessKey, request.access)
    if key is None or key.user_id != request.user_id or key.expires_at is not None:
        raise IamNotFound(what="access key", name=request.access)


def _described(record: BearerToken) -> dict[str, str]:
    """A token as a record of the log tells of it."""
    facts = {
        "token_id": record.id,
        "user_id": record.user_id,
        "expires_at": published_time(record.expires_at),
    }
    return facts if record.access is None else {**facts, "access": record.access}


def _details(record: BearerToken) -> TokenDetails:
    return TokenDetails(
        id=record.id,
        user_id=record.user_id,
        access=record.access,
        description=record.description,
        create_time=published_time(record.created_at),
        expires_at=published_time(record.expires_at),
    )
