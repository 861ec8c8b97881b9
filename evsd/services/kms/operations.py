"""What evsd can ask of the KMS in evsd-keys, and what it is answered.

Requests first, answers with the first request that has them. Key material, wrapped or in clear, is
bytes; times are in UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from evsd.key_channel.operation import Request
from evsd.key_channel.shared import Context
from evsd.services.kms.permissions import GrantOperation

# --- the life of a key ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KeyDetails:
    """Everything that is told about a key."""

    key_id: str
    domain_id: str
    alias: str
    description: str
    created_at: datetime
    deletion_at: datetime | None
    state: str
    is_default: bool
    origin: str
    rotated: bool
    version: int
    expires_at: datetime | None = None  # of imported material; only `DescribeKey` tells


@dataclass(frozen=True, slots=True)
class CreateKey(Request[KeyDetails]):
    """Make a CMK."""

    alias: str
    description: str
    origin: str


@dataclass(frozen=True, slots=True)
class Keys:
    """One page of keys, and how many there are in all."""

    keys: list[KeyDetails]
    total: int


@dataclass(frozen=True, slots=True)
class ListKeys(Request[Keys]):
    """A project's keys, newest first."""

    state: str | None
    limit: int
    offset: int


@dataclass(frozen=True, slots=True)
class DescribeKey(Request[KeyDetails]):
    """One key."""

    key_id: str


@dataclass(frozen=True, slots=True)
class StateOfKey:
    """What a change of its state has made of a key."""

    key_id: str
    state: str


@dataclass(frozen=True, slots=True)
class Dependent:
    """What can't be read any more once its key is destroyed."""

    kind: str
    id: str
    name: str
    since: datetime


@dataclass(frozen=True, slots=True)
class ListKeyDependents(Request[list[Dependent]]):
    """What hangs on a key."""

    key_id: str


@dataclass(frozen=True, slots=True)
class EnableKey(Request[StateOfKey]):
    """Disabled -> enabled."""

    key_id: str


@dataclass(frozen=True, slots=True)
class DisableKey(Request[StateOfKey]):
    """Enabled -> disabled."""

    key_id: str


@dataclass(frozen=True, slots=True)
class ScheduleKeyDeletion(Request[StateOfKey]):
    """Destroy the key `days` days from now."""

    key_id: str
    days: int


@dataclass(frozen=True, slots=True)
class CancelKeyDeletion(Request[StateOfKey]):
    """Keep the key after all."""

    key_id: str


@dataclass(frozen=True, slots=True)
class UpdateKeyAlias(Request[str]):
    """Rename a key; its id is answered."""

    key_id: str
    alias: str


@dataclass(frozen=True, slots=True)
class UpdateKeyDescription(Request[str]):
    """Describe a key anew; its id is answered."""

    key_id: str
    description: str


@dataclass(frozen=True, slots=True)
class Quota:
    """How many there are, and may be."""

    used: int
    quota: int


@dataclass(frozen=True, slots=True)
class Quotas:
    """Of a project: its keys, and the most grants that one of them has."""

    keys: Quota
    grants_per_key: Quota


@dataclass(frozen=True, slots=True)
class UserQuotas(Request[Quotas]):
    """How much of what a project may have it has."""


# --- data keys and small data --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WrappedDatakey:
    """A data key; it is in clear too only if that was asked for."""

    key_id: str
    cipher_text: bytes
    plain_text: bytes = b""


@dataclass(frozen=True, slots=True)
class CreateDatakey(Request[WrappedDatakey]):
    """A new data key of `bits` bits."""

    key_id: str
    bits: int
    context: Context
    plaintext: bool


@dataclass(frozen=True, slots=True)
class EncryptDatakey(Request[WrappedDatakey]):
    """Wrap a data key of the caller's, whose SHA-256 is `digest`."""

    key_id: str
    data_key: bytes
    digest: bytes
    context: Context


@dataclass(frozen=True, slots=True)
class DecryptDatakey(Request[bytes]):
    """A data key of `length` bytes in clear."""

    key_id: str
    cipher_text: bytes
    length: int
    context: Context


@dataclass(frozen=True, slots=True)
class EncryptedData:
    """Data, encrypted."""

    key_id: str
    cipher_text: bytes


@dataclass(frozen=True, slots=True)
class EncryptData(Request[EncryptedData]):
    """Encrypt up to 4096 bytes."""

    key_id: str
    plain_text: bytes
    context: Context


@dataclass(frozen=True, slots=True)
class DecryptedData:
    """Data in clear, and the key that it was encrypted under."""

    key_id: str
    plain_text: bytes


@dataclass(frozen=True, slots=True)
class DecryptData(Request[DecryptedData]):
    """The data; the ciphertext names its key, and `key_id`, if given, must be that key."""

    key_id: str | None
    cipher_text: bytes
    context: Context


@dataclass(frozen=True, slots=True)
class GenRandom(Request[bytes]):
    """Random bits from the token."""

    bits: int


# --- grants --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CreateGrant(Request[str]):
    """Lend a key; the grant's id is answered."""

    key_id: str
    name: str
    grantee: str
    grantee_type: str
    operations: list[GrantOperation]
    retiring_principal: str


@dataclass(frozen=True, slots=True)
class GrantDetails:
    """Everything that is told about a grant."""

    key_id: str
    grant_id: str
    grantee: str
    grantee_type: str
    operations: list[str]
    issuer: str
    created_at: datetime
    name: str
    retiring_principal: str


@dataclass(frozen=True, slots=True)
class FoundGrants:
    """One page of grants, and how many there are in all."""

    grants: list[GrantDetails]
    total: int


@dataclass(frozen=True, slots=True)
class ListGrants(Request[FoundGrants]):
    """The grants on a key."""

    key_id: str
    limit: int
    offset: int


@dataclass(frozen=True, slots=True)
class ListRetirableGrants(Request[FoundGrants]):
    """The grants whose retiring principal the caller is."""

    limit: int
    offset: int


@dataclass(frozen=True, slots=True)
class RevokeGrant(Request[None]):
    """Take a grant back."""

    key_id: str
    grant_id: str


@dataclass(frozen=True, slots=True)
class RetireGrant(Request[None]):
    """Give a grant up."""

    key_id: str
    grant_id: str


# --- import of key material ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ImportParameters:
    """A public key to encrypt the material with, and the token that belongs to it."""

    key_id: str
    import_token: bytes
    public_key: bytes
    expiration_time: int  # in seconds since 1970


@dataclass(frozen=True, slots=True)
class GetParametersForImport(Request[ImportParameters]):
    """Begin an import."""

    key_id: str
    algorithm: str


@dataclass(frozen=True, slots=True)
class ImportKeyMaterial(Request[None]):
    """Pending import -> enabled. `expires` is in seconds since 1970."""

    key_id: str
    import_token: bytes
    material: bytes
    expires: int | None


@dataclass(frozen=True, slots=True)
class DeleteImportedKeyMaterial(Request[None]):
    """Enabled or disabled -> pending import."""

    key_id: str


# --- rotation ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EnableKeyRotation(Request[None]):
    """Rotate the key every year from now on."""

    key_id: str


@dataclass(frozen=True, slots=True)
class DisableKeyRotation(Request[None]):
    """Rotate the key no more."""

    key_id: str


@dataclass(frozen=True, slots=True)
class UpdateKeyRotationInterval(Request[None]):
    """Rotate every `days` days."""

    key_id: str
    days: int


@dataclass(frozen=True, slots=True)
class RotationStatus:
    """How often a key is rotated, and when each of its versions was made."""

    enabled: bool
    interval_days: int
    versions: list[datetime]  # oldest first


@dataclass(frozen=True, slots=True)
class KeyRotationStatus(Request[RotationStatus]):
    """How often the key is rotated, and its versions."""

    key_id: str


@dataclass(frozen=True, slots=True)
class RotateOnDemand(Request[str]):
    """Rotate the key now; its id is answered."""

    key_id: str


# --- tags ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tag:
    """A word on a key."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class TagKey(Request[None]):
    """Add tags or change their values."""

    key_id: str
    tags: list[Tag]


@dataclass(frozen=True, slots=True)
class UntagKey(Request[None]):
    """Remove tags."""

    key_id: str
    names: list[str]


@dataclass(frozen=True, slots=True)
class KeyTags(Request[list[Tag]]):
    """The tags of one key."""

    key_id: str


@dataclass(frozen=True, slots=True)
class TagValues:
    """A tag's key and values: those there are, or those that are looked for."""

    key: str
    values: list[str]


@dataclass(frozen=True, slots=True)
class ProjectTags(Request[list[TagValues]]):
    """All tags of a project's keys."""


@dataclass(frozen=True, slots=True)
class TaggedKey:
    """A key and its tags."""

    key: KeyDetails
    tags: list[Tag]


@dataclass(frozen=True, slots=True)
class TaggedKeys:
    """One page of keys with their tags, and how many there are in all."""

    keys: list[TaggedKey]
    total: int


@dataclass(frozen=True, slots=True)
class KeysByTags(Request[TaggedKeys]):
    """Keys that have every one of `tags` with one of its values (any, if it lists none)."""

    tags: list[TagValues]
    alias_part: str
    limit: int | None  # None: only how many they are
    offset: int


# --- other services' use of keys ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ServiceKey:
    """A consumer's new data key, wrapped, and its LUKS2 digest."""

    cmk_id: str
    cmk_version: int
    wrapped_dek: bytes
    digest_salt: bytes
    digest_iterations: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class CreateServiceKey(Request[ServiceKey]):
    """A consumer's data key; without `key_id` under the project's default key."""

    service: str
    key_id: str | None
    context: Context


@dataclass(frozen=True, slots=True)
class CheckServiceKey(Request[None]):
    """Whether a consumer's key would be released now; refused if not."""

    service: str
    key_id: str
    wrapped_dek: bytes
    context: Context


@dataclass(frozen=True, slots=True)
class CompareServiceKeys(Request[bool]):
    """Whether all of these hold the one data key whose LUKS2 digest this is."""

    service: str
    key_id: str
    wrapped_deks: list[bytes]
    context: Context
    digest_salt: bytes
    digest_iterations: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class RecoverKey(Request[None]):
    """Make sure that the CMK of a volume of the caller's project has a record."""

    key_id: str
    wrapped_dek: bytes
    context: dict[str, str]
