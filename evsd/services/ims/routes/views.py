"""An image as IMS and Glance show it: all of it in one flat object."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from evsd.services.ims.tables import Image

CMK_ID, ENCRYPTED, DESCRIPTION = "__system__cmkid", "__system__encrypted", "__description"
View = dict[str, Any]
# What evsd itself says of an image, beside what can be changed.
FIXED = frozenset(
    {
        *("id", "status", "owner", "os_hidden", "size", "virtual_size", "checksum"),
        *("disk_format", "container_format", "created_at", "updated_at", "active_at"),
        *("self", "file", "schema", "enterprise_project_id", "virtual_env_type", "visibility"),
        *(CMK_ID, ENCRYPTED, "__imagetype", "__isregistered", "__image_source_type"),
        *("__image_size", "__root_origin", "__data_origin", "__support_kvm"),
    }
)


def view(image: Image) -> View:
    """One image."""
    link = f"/v2/images/{image.id}"
    return {
        **image.properties,
        "id": image.id,
        "name": image.name,
        "status": image.status,
        "visibility": "private",
        "owner": image.project_id,
        "protected": image.protected,
        "os_hidden": False,
        "tags": image.tags,
        "min_disk": image.min_disk,
        "min_ram": image.min_ram,
        "size": image.size,
        "virtual_size": image.virtual_size,
        "checksum": image.checksum,
        "disk_format": image.disk_format,
        "container_format": image.container_format,
        "created_at": _time(image.created_at),
        "updated_at": _time(image.updated_at),
        "active_at": None if image.active_at is None else _time(image.active_at),
        "self": link,
        "file": f"{link}/file",
        "schema": "/v2/schemas/image",
        "enterprise_project_id": "0",
        "virtual_env_type": "DataImage",
        CMK_ID: image.cmk_id,
        ENCRYPTED: "1",
        DESCRIPTION: image.description,
        "__imagetype": "private",
        "__isregistered": "true",
        "__image_source_type": "uds",
        "__image_size": str(image.size or 0),
        "__root_origin": "file" if image.origin == "file" else image.origin.partition(",")[0],
        "__data_origin": image.origin,
        "__support_kvm": "true",
    }


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
