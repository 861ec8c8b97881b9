"""How EVS, and Cinder, draw an error, and which published code a bad field has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from evsd.api.errors import Style
from evsd.errors import PublishedError
from evsd.services.evs import errors as e


def _evs_body(error: PublishedError) -> dict[str, Any]:
    return {"error": {"code": error.code, "message": error.text}}


def _cinder_body(error: PublishedError) -> dict[str, Any]:
    # cinderclient reads code and message; the published code is for our own client.
    name = {401: "unauthorized", 403: "forbidden", 404: "itemNotFound", 503: "serviceUnavailable"}
    kind = name.get(error.status, "badRequest" if error.status < 500 else "computeFault")
    return {kind: {"code": error.status, "message": error.text, "error_code": error.code}}


EVS = Style(
    body=_evs_body,
    malformed=e.EvsBodyInvalid,
    missing=e.EvsFieldMissing,
    invalid=e.EvsFieldInvalid,
    forbidden=e.EvsForbidden,
    foreign_project=e.EvsProjectMismatch,
    fields={
        "size": e.VolumeSizeInvalid,
        "new_size": e.VolumeSizeInvalid,
        "name": e.VolumeNameInvalid,
        "description": e.VolumeDescriptionInvalid,
        "volume_type": e.VolumeTypeUnknown,
        "count": e.VolumeCountInvalid,
        "tags": e.VolumeTagInvalid,
        "limit": e.EvsLimitInvalid,
        "offset": e.EvsLimitInvalid,
        "sort_key": e.EvsSortKeyInvalid,
        "sort_dir": e.EvsSortDirectionInvalid,
        "volume_id": e.VolumeIdInvalid,
        "__system__cmkid": e.VolumeEncryptionInvalid,
        "__system__encrypted": e.VolumeEncryptionInvalid,
    },
)
# Its names and ids are snapshots'; `volume_id` in a body may be a volume that there isn't.
EVS_SNAPSHOTS = replace(
    EVS, fields={**EVS.fields, "name": e.SnapshotNameInvalid, "snapshot_id": e.SnapshotIdInvalid}
)
CINDER = replace(EVS, body=_cinder_body, fields={})
