"""What evsd can ask of IAM in evsd-keys, and what it is answered.

An `owner` narrows what is found to that user's access keys. Times are text, as published.
"""

from __future__ import annotations

from dataclasses import dataclass

from evsd.key_channel.operation import Request
from evsd.services.iam.changes import Facts, Named


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
    """Whose access key has signed."""

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
