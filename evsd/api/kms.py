"""KMS API v1.0: bodies and paths as published; numbers travel as text, keys as upper-case hex."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi.routing import APIRouter
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from evsd.api import errors
from evsd.api.fields import MAX_OFFSET, UUID_PATTERN, KeyId, printable
from evsd.api.routes import Caller, Model, UsesServices, needs, router
from evsd.errors import BadEncryptionContext, DatakeyLengthMultiple, DatakeyLengthRange, DatakeySpec
from evsd.iam.policy import Permission

CONTEXT_LIMIT = 8192
SPEC_BITS = {"AES_256": 256, "AES_128": 128}


def _number(value: object) -> object:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 9:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError("a decimal number as text")


def _alias(value: str) -> str:
    if value.endswith("/default"):
        raise ValueError("only default keys end with /default")
    if re.fullmatch(UUID_PATTERN, value):
        raise ValueError("it could be taken for a key id")
    return value


Number = Annotated[int, BeforeValidator(_number)]
Alias = Annotated[str, Field(pattern=r"^[a-zA-Z0-9:/_-]{1,255}$"), AfterValidator(_alias)]
Hex = Annotated[str, Field(pattern=r"^([0-9a-fA-F]{2})+$", max_length=4096)]


class Body(Model):
    """What every body may have: an id of the client's own, and what only other tokens know."""

    sequence: Annotated[str, Field(pattern="^[0-9a-zA-Z-]{36}$")] | None = None
    pin: None = None
    pin_type: None = None
    vm_id: None = None
    keystore_id: Annotated[str, Field(pattern="^0$")] | None = None


class CreateKeyBody(Body):
    """create-key."""

    key_alias: Alias
    key_description: Annotated[str, Field(max_length=255), AfterValidator(printable)] = ""
    key_spec: Annotated[str, Field(pattern="^AES_256$")] = "AES_256"
    key_usage: Annotated[str, Field(pattern="^ENCRYPT_DECRYPT$")] = "ENCRYPT_DECRYPT"
    origin: Annotated[str, Field(pattern="^kms$")] = "kms"


class KeyBody(Body):
    """Every operation on one key."""

    key_id: KeyId


class ListKeysBody(Body):
    """list-keys."""

    limit: Annotated[Number, Field(ge=1, le=1000)] = 1000
    marker: Annotated[Number, Field(ge=0, le=MAX_OFFSET)] = 0
    key_state: Annotated[str, Field(pattern="^[1-5]$")] | None = None
    key_spec: str = "AES_256"


class Context(Model):
    """Either spelling of what a ciphertext is bound to."""

    additional_authenticated_data: Annotated[str, Field(max_length=128)] | None = None
    encryption_context: dict[str, str] | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Context:
        if self.additional_authenticated_data is not None and self.encryption_context is not None:
            raise BadEncryptionContext(
                reason="additional_authenticated_data and encryption_context exclude each other"
            )
        _check_context(self.context)
        return self

    @property
    def context(self) -> dict[str, str] | str:
        """What to bind; nothing given is the empty map."""
        if self.additional_authenticated_data is not None:
            return self.additional_authenticated_data
        return self.encryption_context or {}


def _check_context(context: dict[str, str] | str) -> None:
    text = json.dumps(context, ensure_ascii=False)
    if len(text) > CONTEXT_LIMIT:
        raise BadEncryptionContext(reason=f"longer than {CONTEXT_LIMIT} characters")
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON can spell half a character, "\ud800"
        raise BadEncryptionContext(reason="it is not Unicode text") from error


class CreateDatakeyBody(KeyBody, Context):
    """create-datakey and create-datakey-without-plaintext; a length wins over a spec."""

    datakey_length: Number | None = None
    key_spec: str | None = None

    @property
    def bits(self) -> int:
        """Length of the wanted data key; 256 where nothing is said."""
        if self.datakey_length is None:
            if self.key_spec is not None and self.key_spec not in SPEC_BITS:
                raise DatakeySpec(value=self.key_spec[:64])
            return SPEC_BITS.get(self.key_spec or "AES_256", 256)
        if not 8 <= self.datakey_length <= 8192:
            raise DatakeyLengthRange(value=self.datakey_length)
        if self.datakey_length % 8:
            raise DatakeyLengthMultiple(value=self.datakey_length)
        return self.datakey_length


class DecryptDatakeyBody(KeyBody, Context):
    """decrypt-datakey; the length is that of the data key in bytes, in spite of its name."""

    cipher_text: Hex
    datakey_cipher_length: Annotated[Number, Field(ge=1, le=1024)]


class CreatedKey(Model):
    """Of create-key."""

    key_id: str
    domain_id: str
    region_id: str


class CreateKeyResponse(Model):
    """Of create-key."""

    key_info: CreatedKey


class KeyDetails(Model):
    """Everything that is told about a key."""

    key_id: str
    domain_id: str
    key_alias: str
    realm: str
    key_spec: str = "AES_256"
    key_usage: str = "ENCRYPT_DECRYPT"
    key_description: str
    creation_date: str
    scheduled_deletion_date: str = ""
    key_state: str
    default_key_flag: str
    key_type: str = "1"
    expiration_time: str = ""
    origin: str = "kms"
    key_rotation_enabled: str = "false"
    sys_enterprise_project_id: str = "0"
    keystore_id: str = "0"


class DescribeKeyResponse(Model):
    """Of describe-key."""

    key_info: KeyDetails


class ListKeysResponse(Model):
    """Of list-keys."""

    keys: list[str]
    key_details: list[KeyDetails]
    next_marker: str
    truncated: str
    total: int


class KeyState(Model):
    """A key's new state."""

    key_id: str
    key_state: str


class KeyStateResponse(Model):
    """Of enable-key and disable-key."""

    key_info: KeyState


class SealedDatakey(Model):
    """Of create-datakey-without-plaintext."""

    key_id: str
    cipher_text: str


class Datakey(SealedDatakey):
    """Of create-datakey."""

    plain_text: str


class DecryptedDatakey(Model):
    """Of decrypt-datakey."""

    data_key: str
    datakey_length: str
    datakey_dgst: str


routes: APIRouter = router(errors.KMS, "KMS")
BASE = "/v1.0/{project_id}/kms"


@routes.post(f"{BASE}/create-key", **needs(Permission.KEY_CREATE))
def create_key(body: CreateKeyBody, call: Caller, services: UsesServices) -> CreateKeyResponse:
    """Make a CMK on the token."""
    key = services.keys.call(
        "create_key", call, alias=body.key_alias, description=body.key_description
    )
    created = CreatedKey(
        key_id=key["key_id"], domain_id=key["domain_id"], region_id=services.region
    )
    return CreateKeyResponse(key_info=created)


@routes.post(f"{BASE}/list-keys", **needs(Permission.KEY_LIST))
def list_keys(
    call: Caller, services: UsesServices, body: ListKeysBody | None = None
) -> ListKeysResponse:
    """One page of the project's keys; the marker is an offset."""
    page = body or ListKeysBody()
    # All keys are AES_256 yet: of another kind there are none.
    none = page.key_spec not in ("AES_256", "ALL")
    listed = services.keys.call(
        "list_keys",
        call,
        state="none" if none else page.key_state,
        limit=page.limit,
        offset=page.marker,
    )
    details = [_details(key, services.region) for key in listed["keys"]]
    end = page.marker + len(details)
    truncated = end < listed["total"]
    return ListKeysResponse(
        keys=[key.key_id for key in details],
        key_details=details,
        next_marker=str(end) if truncated else "",
        truncated="true" if truncated else "false",
        total=listed["total"],
    )


@routes.post(f"{BASE}/describe-key", **needs(Permission.KEY_SHOW))
def describe_key(body: KeyBody, call: Caller, services: UsesServices) -> DescribeKeyResponse:
    """Everything about one key."""
    key = services.keys.call("describe_key", call, key_id=body.key_id)
    return DescribeKeyResponse(key_info=_details(key, services.region))


@routes.post(f"{BASE}/enable-key", **needs(Permission.KEY_ENABLE))
def enable_key(body: KeyBody, call: Caller, services: UsesServices) -> KeyStateResponse:
    """Let a disabled key be used again."""
    return KeyStateResponse(
        key_info=KeyState(**services.keys.call("enable_key", call, key_id=body.key_id))
    )


@routes.post(f"{BASE}/disable-key", **needs(Permission.KEY_DISABLE))
def disable_key(body: KeyBody, call: Caller, services: UsesServices) -> KeyStateResponse:
    """Let the key be used no more, until it is enabled."""
    return KeyStateResponse(
        key_info=KeyState(**services.keys.call("disable_key", call, key_id=body.key_id))
    )


@routes.post(f"{BASE}/create-datakey", **needs(Permission.DATAKEY_CREATE))
def create_datakey(body: CreateDatakeyBody, call: Caller, services: UsesServices) -> Datakey:
    """A new data key, in clear and wrapped."""
    made = _new_datakey(body, call, services, plaintext=True)
    return Datakey(
        key_id=made["key_id"],
        cipher_text=made["cipher_text"].upper(),
        plain_text=made["plain_text"].upper(),
    )


@routes.post(f"{BASE}/create-datakey-without-plaintext", **needs(Permission.DATAKEY_CREATE))
def create_datakey_without_plaintext(
    body: CreateDatakeyBody, call: Caller, services: UsesServices
) -> SealedDatakey:
    """A new data key, wrapped only."""
    made = _new_datakey(body, call, services, plaintext=False)
    return SealedDatakey(key_id=made["key_id"], cipher_text=made["cipher_text"].upper())


@routes.post(f"{BASE}/decrypt-datakey", **needs(Permission.DATAKEY_DECRYPT))
def decrypt_datakey(
    body: DecryptDatakeyBody, call: Caller, services: UsesServices
) -> DecryptedDatakey:
    """A wrapped data key in clear, with its SHA-256."""
    found = services.keys.call(
        "decrypt_datakey",
        call,
        key_id=body.key_id,
        cipher_text=body.cipher_text,
        length=body.datakey_cipher_length,
        context=body.context,
    )
    data_key = bytes.fromhex(found["data_key"])
    return DecryptedDatakey(
        data_key=data_key.hex().upper(),
        datakey_length=str(len(data_key)),
        datakey_dgst=hashlib.sha256(data_key).hexdigest().upper(),
    )


def _new_datakey(
    body: CreateDatakeyBody, call: Caller, services: UsesServices, *, plaintext: bool
) -> dict[str, Any]:
    return services.keys.call(
        "create_datakey",
        call,
        key_id=body.key_id,
        bits=body.bits,
        context=body.context,
        plaintext=plaintext,
    )


def _details(key: dict[str, Any], region: str) -> KeyDetails:
    created = datetime.fromisoformat(key["creation_date"]).replace(tzinfo=UTC)
    return KeyDetails(
        key_id=key["key_id"],
        domain_id=key["domain_id"],
        key_alias=key["key_alias"],
        realm=region,
        key_description=key["key_description"],
        creation_date=str(int(created.timestamp() * 1000)),
        key_state=key["key_state"],
        default_key_flag="1" if key["is_default"] else "0",
    )
