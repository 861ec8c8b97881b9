"""What the bodies of all KMS operations share."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from evsd.api.fields import MAX_OFFSET, UUID_PATTERN, KeyId, printable
from evsd.api.routes import Model
from evsd.services.kms import operations
from evsd.store.database import milliseconds

BASE = "/v1.0/{project_id}/kms"
ALIAS_PATTERN = r"^[a-zA-Z0-9:/_-]{1,255}$"


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


def _hex(value: str) -> str:
    if not re.fullmatch(r"([0-9a-fA-F]{2})+", value):
        raise ValueError("hex digits, an even number of them")
    return value


def _base64(value: str) -> str:
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("it is not base64") from error
    return value


# JSON Schema can't tell a number as text by its size, so OpenAPI says what it looks like.
Number = Annotated[
    int,
    BeforeValidator(_number),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": "^[0-9]{1,9}$"}, {"type": "integer"}]}),
]
Alias = Annotated[str, Field(pattern=ALIAS_PATTERN), AfterValidator(_alias)]
Description = Annotated[str, Field(max_length=255), AfterValidator(printable)]
Hex = Annotated[str, Field(min_length=2, max_length=16384), AfterValidator(_hex)]
Base64 = Annotated[str, AfterValidator(_base64)]
# Operations that use a key also take its alias, as the newer documents say.
KeyReference = Annotated[
    str, Field(pattern=rf"{UUID_PATTERN[:-1]}$|^alias/[a-zA-Z0-9:/_-]{{1,255}}$")
]


class Body(Model):
    """What every body may have: an id of the client's own, and what only other tokens know."""

    sequence: Annotated[str, Field(max_length=36)] | None = None
    pin: None = None
    pin_type: None = None
    vm_id: None = None
    keystore_id: Annotated[str, Field(pattern="^0$")] | None = None


class KeyBody(Body):
    """Every operation on one key."""

    key_id: KeyId


class PageBody(Body):
    """Every list."""

    limit: Annotated[Number, Field(ge=1, le=1000)] = 1000
    marker: Annotated[Number, Field(ge=0, le=MAX_OFFSET)] = 0


class PageResponse(Model):
    """Where the next page begins, if there is one."""

    next_marker: str
    truncated: str
    total: int


def page_end(page: PageBody, count: int, total: int) -> dict[str, Any]:
    """The fields of `PageResponse` after `count` things of `total` were listed."""
    end = page.marker + count
    more = count > 0 and end < total
    return {
        "next_marker": str(end) if more else "",
        "truncated": "true" if more else "false",
        "total": total,
    }


class Nothing(Model):
    """An empty object."""


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
    scheduled_deletion_date: str
    key_state: str
    default_key_flag: str
    key_type: str = "1"
    expiration_time: str = ""
    origin: str
    key_rotation_enabled: str
    sys_enterprise_project_id: str = "0"
    keystore_id: str = "0"


def key_details(key: operations.KeyDetails, region: str) -> KeyDetails:
    """A key as the key process tells of it, as published."""
    return KeyDetails(
        key_id=key.key_id,
        domain_id=key.domain_id,
        key_alias=key.alias,
        realm=region,
        key_description=key.description,
        creation_date=published_time(key.created_at),
        scheduled_deletion_date=published_time(key.deletion_at),
        key_state=key.state,
        default_key_flag="1" if key.is_default else "0",
        expiration_time=published_time(key.expires_at),
        origin=key.origin,
        key_rotation_enabled="true" if key.rotated else "false",
    )


def published_time(moment: datetime | None) -> str:
    """A time as published: milliseconds since 1970 as text."""
    return "" if moment is None else str(milliseconds(moment))
