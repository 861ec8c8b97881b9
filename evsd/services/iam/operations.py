"""What evsd can ask of IAM in evsd-keys, and what it is answered.

An `owner` narrows what is found to that user's access keys or tokens. Times are text, as published.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from evsd.key_channel.operation import Request
from evsd.services.iam.changes import Facts, Named


def published_time(moment: datetime) -> str:
    """A time as IAM publishes it."""
    return moment.isoformat(timespec="microseconds") + "Z"


@dataclass(frozen=True, slots=True)
class ChangeIdentity(Request[Facts]):
    """Carry out a change of who may do what, see `evsd.services.iam.changes`."""

    change: str
    named: dict[str, Named]


@dataclass(frozen=True, slots=True)
class AccessKeyDetails:
    """What is told about an access key whenever it is."""

    access: str
    user_id: str
    status: str
    description: str
    create_time: str


@dataclass(frozen=True, slots=True)
class NewAccessKey:
    """An access key with its secret, which is told this once."""

    key: AccessKeyDetails
    secret: str


@dataclass(frozen=True, slots=True)
class CreateAccessKey(Request[NewAccessKey]):
    """A new AK/SK pair for a user."""

    user_id: str
    description: str


@dataclass(frozen=True, slots=True)
class TemporaryKey:
    """A pair with a security token and an end."""

    access: str
    secret: str
    security_token: str
    expires_at: str


@dataclass(frozen=True, slots=True)
class CreateTemporaryKey(Request[TemporaryKey]):
    """A pair for so many seconds; it acts as the agency if one is given."""

    user_id: str
    agency_id: str | None
    seconds: int


@dataclass(frozen=True, slots=True)
class ListAccessKeys(Request[list[AccessKeyDetails]]):
    """A user's permanent access keys."""

    user_id: str


@dataclass(frozen=True, slots=True)
class ShownAccessKey:
    """An access key, and when it was last used."""

    key: AccessKeyDetails
    last_use_time: str | None


@dataclass(frozen=True, slots=True)
class ShowAccessKey(Request[ShownAccessKey]):
    """One permanent access key."""

    access: str
    owner: str | None


@dataclass(frozen=True, slots=True)
class UpdateAccessKey(Request[AccessKeyDetails]):
    """Change what is given of an access key."""

    access: str
    owner: str | None
    active: bool | None
    description: str | None


@dataclass(frozen=True, slots=True)
class DeleteAccessKey(Request[None]):
    """End an access key."""

    access: str
    owner: str | None


@dataclass(frozen=True, slots=True)
class Signer:
    """Whose access key has signed, or who else is known by a secret."""

    user_id: str
    agency_id: str | None
    temporary: bool


@dataclass(frozen=True, slots=True)
class CheckSignature(Request[Signer]):
    """Who signed one of `texts`."""

    access: str
    texts: list[str]
    signature: str
    token: str | None

    what: ClassVar = "access key"

    @property
    def name(self) -> str:
        """The access key, for the log and for messages."""
        return self.access


@dataclass(frozen=True, slots=True)
class CheckSecret(Request[Signer]):
    """Whose access key and secret these are."""

    access: str
    secret: str = field(repr=False)
    token: str | None = field(repr=False)

    what: ClassVar = "access key"

    @property
    def name(self) -> str:
        """The access key, for the log and for messages."""
        return self.access


@dataclass(frozen=True, slots=True)
class CheckToken(Request[Signer]):
    """Whose token this is."""

    id: str
    token: str = field(repr=False)

    what: ClassVar = "token"

    @property
    def name(self) -> str:
        """The token's id, for the log and for messages."""
        return self.id


Proof = CheckSignature | CheckSecret | CheckToken


@dataclass(frozen=True, slots=True)
class TokenDetails:
    """What is told about a token whenever it is; `access` is the access key that it ends with."""

    id: str
    user_id: str
    access: str | None
    description: str
    create_time: str
    expires_at: str


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token in clear, which is told this once."""

    details: TokenDetails
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class CreateToken(Request[NewToken]):
    """A token for so many seconds; it ends with the access key, if one is given."""

    user_id: str
    access: str | None
    seconds: int
    description: str


@dataclass(frozen=True, slots=True)
class ListTokens(Request[list[TokenDetails]]):
    """A user's tokens that can be used."""

    user_id: str


@dataclass(frozen=True, slots=True)
class RevokeToken(Request[None]):
    """End a token."""

    id: str
    owner: str | None
