"""What fields an image has, as Glance's clients ask before they offer options for them."""

from __future__ import annotations

from typing import Any

from evsd.api.router import Router, router
from evsd.api.routes import needs
from evsd.errors import ApiNotFound
from evsd.services.ims.importing import FORMATS
from evsd.services.ims.permissions import ImsPermission
from evsd.services.ims.style import IMS

_TEXT, _NUMBER, _FLAG = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
_SET_BY_EVSD: dict[str, Any] = {"readOnly": True}
_MAYBE = {"type": ["null", "string"]}
_IMAGE: dict[str, Any] = {
    "id": {**_TEXT, "description": "An identifier for the image"},
    "name": {"type": ["null", "string"], "maxLength": 128},
    "status": {**_TEXT, **_SET_BY_EVSD},
    # All of Glance's, or its client would refuse a change itself, without the reason.
    "visibility": {**_TEXT, "enum": ["private", "public", "shared", "community"]},
    "protected": _FLAG,
    "os_hidden": _FLAG,
    "checksum": {**_MAYBE, **_SET_BY_EVSD},
    "owner": _MAYBE,
    "size": {"type": ["null", "integer"], **_SET_BY_EVSD},
    "virtual_size": {"type": ["null", "integer"], **_SET_BY_EVSD},
    "container_format": {"type": ["null", "string"], "enum": [None, "bare"]},
    "disk_format": {"type": ["null", "string"], "enum": [None, *FORMATS]},
    "created_at": {**_TEXT, **_SET_BY_EVSD},
    "updated_at": {**_TEXT, **_SET_BY_EVSD},
    "active_at": {**_MAYBE, **_SET_BY_EVSD},
    "tags": {"type": "array", "items": {"type": "string", "maxLength": 255}},
    "min_ram": _NUMBER,
    "min_disk": _NUMBER,
    "self": {**_TEXT, **_SET_BY_EVSD},
    "file": {**_TEXT, **_SET_BY_EVSD},
    "schema": {**_TEXT, **_SET_BY_EVSD},
    "__system__cmkid": {**_TEXT, "description": "The id of the key it is encrypted under"},
}
_MEMBER = dict.fromkeys(("image_id", "member_id", "status", "created_at", "updated_at"), _TEXT)
_NAMESPACE = dict.fromkeys(("namespace", "display_name", "description", "visibility"), _TEXT)
_RESOURCE_TYPE = dict.fromkeys(("name", "prefix", "properties_target"), _TEXT)


def _schema(name: str, properties: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "properties": properties, "additionalProperties": {"type": "string"}}


def _list(name: str, of: str, properties: dict[str, Any]) -> dict[str, Any]:
    items = {"type": "array", "items": _schema(of, properties)}
    links = dict.fromkeys(("first", "next", "schema"), _TEXT)
    return {"name": name, "properties": {name: items, **links}}


SCHEMAS = {
    "image": _schema("image", _IMAGE),
    "images": _list("images", "image", _IMAGE),
    "member": _schema("member", _MEMBER),
    "members": _list("members", "member", _MEMBER),
    # For tools that describe images' properties, which glanceclient asks for at its start.
    "metadefs/namespace": _schema("namespace", _NAMESPACE),
    "metadefs/resource_type": _schema("resource_type_association", _RESOURCE_TYPE),
}

routes: Router = router(IMS, "Glance")


@routes.get("/v2/schemas/{name}", **needs(ImsPermission.SCHEMA_SHOW))
def show_schema(name: str) -> dict[str, Any]:
    """A schema."""
    if name not in SCHEMAS:
        raise ApiNotFound(method="GET", path=f"/v2/schemas/{name}")
    return SCHEMAS[name]


@routes.get("/v2/schemas/metadefs/{name}", **needs(ImsPermission.SCHEMA_SHOW))
def show_metadefs_schema(name: str) -> dict[str, Any]:
    """A schema of what could describe properties; nothing here does."""
    return show_schema(f"metadefs/{name}")
