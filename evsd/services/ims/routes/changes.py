"""Changes of an image as JSON patches (Glance's subset of RFC 6902), and which are allowed."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from evsd.api.routes import Model
from evsd.services.ims.errors import (
    ImageKeyFixed,
    ImageNameInvalid,
    ImageNotShareable,
    ImagePropertyFixed,
    ImageTagQuotaExceeded,
    ImsBodyInvalid,
    ImsFieldInvalid,
    MinDiskTooSmall,
)
from evsd.services.ims.limits import GIB, PROPERTY_LIMIT
from evsd.services.ims.routes import fields
from evsd.services.ims.routes.fields import unique
from evsd.services.ims.routes.views import CMK_ID, DESCRIPTION, ENCRYPTED, FIXED
from evsd.services.ims.tables import Image


class Change(Model):
    """One of them; `path` is a JSON pointer to a field of the image."""

    op: Literal["add", "replace", "remove"]
    path: Annotated[str, Field(pattern="^/.", max_length=300)]
    value: Any = None


_CHANGES = TypeAdapter(list[Change])
# The attributes that can be changed, by what they are called.
_COLUMNS: dict[str, tuple[str, TypeAdapter[Any]]] = {
    "name": ("name", TypeAdapter(fields.ImageName)),
    DESCRIPTION: ("description", TypeAdapter(fields.Description)),
    "protected": ("protected", TypeAdapter(fields.Protected)),
    "min_disk": ("min_disk", TypeAdapter(fields.MinDisk)),
    "min_ram": ("min_ram", TypeAdapter(fields.MinRam)),
    "tags": ("tags", TypeAdapter(fields.Tags)),
}
_PROPERTIES = TypeAdapter(fields.Properties)
_KEY = (CMK_ID, ENCRYPTED)
# What a request may say of a new image that is so anyway.
_ALWAYS = {"os_hidden": (False,), "__imagetype": ("private",), ENCRYPTED: ("1",)}


def read_changes(body: bytes) -> list[Change]:
    """The changes in a body, JSON whatever its type says; raises `ImsBodyInvalid`."""
    try:
        return _CHANGES.validate_python(json.loads(body))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ImsBodyInvalid(reason=f"{place}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise ImsBodyInvalid(reason=str(error)) from error


def properties_of(given: dict[str, Any], project_id: str) -> dict[str, str]:
    """What of a new image is no attribute; raises `ImsFieldInvalid` for what can't be set."""
    found = {}
    for name, value in given.items():
        if value in _ALWAYS.get(name, ()) or (name == "owner" and value == project_id):
            continue
        if name in FIXED:
            raise ImsFieldInvalid(field=name, value=str(value)[:64], reason="evsd sets it itself")
        if value is not None:
            found[name] = value
    properties: dict[str, str] = _checked("properties", _PROPERTIES, found)
    return properties


def apply(changes: list[Change], image: Image) -> None:
    """Change the record; raises `ImageKeyFixed`, `ImageNotShareable`, `ImagePropertyFixed`, ..."""
    for change in changes:
        name = change.path[1:].replace("~1", "/").replace("~0", "~")
        if name in _KEY:
            raise ImageKeyFixed(name=image.name, field=name)
        if name == "visibility":
            if change.value != "private":
                raise ImageNotShareable(name=image.name)
        elif name in _COLUMNS:
            _set(image, name, change)
        elif name in FIXED:
            raise ImagePropertyFixed(name=image.name, field=name)
        else:
            _set_property(image, name, change)


def _set(image: Image, name: str, change: Change) -> None:
    if change.op == "remove":
        raise ImagePropertyFixed(name=image.name, field=name)
    column, kind = _COLUMNS[name]
    value = _checked(name, kind, change.value)
    if name == "min_disk" and value * GIB < (image.virtual_size or 0):
        needed = -(-(image.virtual_size or 0) // GIB)
        raise MinDiskTooSmall(name=image.name, value=value, needed=needed)
    setattr(image, column, unique(value) if name == "tags" else value)


def _set_property(image: Image, name: str, change: Change) -> None:
    properties = dict(image.properties)
    if change.op == "remove":
        if name not in properties:
            raise ImsFieldInvalid(field=name[:64], value="", reason="the image has none")
        del properties[name]
    else:
        properties |= _checked(name[:64], _PROPERTIES, {name: change.value})
    if len(properties) > PROPERTY_LIMIT:
        raise ImageTagQuotaExceeded(name=image.name, limit=PROPERTY_LIMIT, what="properties")
    image.properties = properties


def _checked(name: str, kind: TypeAdapter[Any], value: Any) -> Any:
    try:
        return kind.validate_python(value)
    except ValidationError as error:
        reason = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        refused = ImageNameInvalid if name == "name" else ImsFieldInvalid
        raise refused(field=name, value=str(value)[:64], reason=reason) from error
