"""How IMS draws an error, and which published code a bad field has."""

from __future__ import annotations

from typing import Any

from evsd.api.errors import Style
from evsd.errors import PublishedError
from evsd.services.ims import errors as e


def _ims_body(error: PublishedError) -> dict[str, Any]:
    return {"error": {"code": error.code, "message": error.text}}


IMS = Style(
    body=_ims_body,
    malformed=e.ImsBodyInvalid,
    missing=e.ImsFieldMissing,
    invalid=e.ImsFieldInvalid,
    forbidden=e.ImsForbidden,
    foreign_project=e.ImsProjectMismatch,
    project_in_header=True,
    fields={
        "name": e.ImageNameInvalid,
        "min_disk": e.MinDiskInvalid,
        "disk_format": e.ImageFormatInvalid,
        "limit": e.ImageLimitInvalid,
        "cmk_id": e.ImageKeyNotFound,
        "__system__cmkid": e.ImageKeyNotFound,
    },
)
