"""Fields of images that several routes take."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StrictBool, StrictInt

from evsd.api.fields import UUID_PATTERN, name, printable
from evsd.services.ims.errors import ImageKeyNotFound
from evsd.services.ims.importing import FORMATS
from evsd.services.ims.limits import MAX_DISK_GIB, PROPERTY_LIMIT, TAG_LIMIT


def _format(value: str) -> str:
    if value not in FORMATS:
        raise ValueError(f"one of {', '.join(FORMATS)}")
    return value


def _bare(value: str) -> str:
    if value != "bare":
        raise ValueError("bare, an image is one disk")
    return value


ImageName = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(name)]
Description = Annotated[str, Field(max_length=1024), AfterValidator(printable)]
DiskFormat = Annotated[str, AfterValidator(_format)]
ContainerFormat = Annotated[str, AfterValidator(_bare)]
MinDisk = Annotated[StrictInt, Field(ge=0, le=MAX_DISK_GIB)]
MinRam = Annotated[StrictInt, Field(ge=0, le=2**31 - 1)]
Protected = StrictBool
Tag = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(printable)]
Tags = Annotated[list[Tag], Field(max_length=TAG_LIMIT)]
PropertyName = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(printable)]
PropertyValue = Annotated[str, Field(max_length=1024)]
Properties = Annotated[dict[PropertyName, PropertyValue], Field(max_length=PROPERTY_LIMIT)]


def key_id(value: Any) -> str | None:
    """The id of a CMK; raises `ImageKeyNotFound` for what is none."""
    if value is None:
        return None
    if not isinstance(value, str) or not re.fullmatch(UUID_PATTERN, value):
        raise ImageKeyNotFound(reason=f"{str(value)[:64]!r} is not a key id")
    return value


def unique(tags: list[str]) -> list[str]:
    """Each once, in their order."""
    return list(dict.fromkeys(tags))
