"""Fields of volumes that several routes of EVS and Cinder take."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from evsd.api.fields import name, printable
from evsd.services.evs.limits import BATCH_LIMIT, MAX_SIZE_GIB

TAG_KEY_LENGTH, TAG_VALUE_LENGTH = 36, 43
_NOT_IN_TAGS = set("=*<>\\,|/")


def _whole(value: object) -> object:
    """10.0 and 1e1 are whole numbers in JSON too; text and true are none, and 1.5 isn't cut off."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("not a number")
    if not math.isfinite(value) or value != int(value):
        raise ValueError("not a whole number")
    return int(value)


def _tag_text(value: str) -> str:
    if value != value.strip():
        raise ValueError("it begins or ends with a space")
    if not value.isprintable() or _NOT_IN_TAGS & set(value):
        listed = " ".join(sorted(_NOT_IN_TAGS))
        raise ValueError(f"control characters and {listed} are not allowed")
    return value


VolumeName = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(name)]
SnapshotName = Annotated[str, Field(max_length=255), AfterValidator(name)]  # or none
Description = Annotated[str, Field(max_length=255), AfterValidator(printable)]
SizeGib = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=MAX_SIZE_GIB)]
Count = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=BATCH_LIMIT)]
TagKey = Annotated[str, Field(min_length=1, max_length=TAG_KEY_LENGTH), AfterValidator(_tag_text)]
TagValue = Annotated[str, Field(max_length=TAG_VALUE_LENGTH), AfterValidator(_tag_text)]
Tags = dict[TagKey, TagValue]
MetadataKey = Annotated[str, Field(min_length=1, max_length=255)]
MetadataValue = Annotated[str, Field(max_length=255)]
