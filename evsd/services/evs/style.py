"""How EVS, and Cinder, draw an error, and which published code a bad field has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from evsd.api.errors import Style, fault_body
from evsd.errors import PublishedError
from evsd.services.evs import errors as e
from evsd.services.evs import microversions


def _evs_body(error: PublishedError) -> dict[str, Any]:
    return {"error": {"code": error.code, "message": error.text}}


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
CINDER = replace(EVS, body=fault_body, fields={}, headers=microversions.headers)
