"""What the metadata of a volume holds: what is the service's own, and what its user put there.

The published create has no fields for a key or for provisioning; metadata is where the cloud puts
such things too (hw:passthrough, full_clone). What is the service's own can't be changed there.
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from evsd.services.evs.errors import (
    VolumeMetadataFixed,
    VolumeMetadataNotFound,
    VolumeMetadataTooLong,
)
from evsd.services.evs.tables import Volume
from evsd.services.evs.volumes.records import find
from evsd.store.database import Database, utcnow

SYSTEM, OURS = "__system__", "evsd:"
ENCRYPTED, CMK_ID = f"{SYSTEM}encrypted", f"{SYSTEM}cmkid"
PROVISIONING, THIN, THICK = f"{OURS}provisioning", "thin", "thick"
TOTAL_LIMIT = 64 * 1024  # characters of all of it


def metadata_of(volume: Volume) -> dict[str, str]:
    """What its metadata tells of a volume, attached or not."""
    return {
        **volume.extra_metadata,
        ENCRYPTED: "1",
        CMK_ID: volume.cmk_id,
        PROVISIONING: THIN if volume.thin else THICK,
    }


class VolumeMetadata:
    """The metadata of volumes that their users put there."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def show(self, project_id: str, volume_id: str) -> dict[str, str]:
        """All of it, with the service's own; raises `VolumeNotFound`."""
        with self._database.reading() as session:
            return metadata_of(find(session, project_id, volume_id))

    def change(
        self, project_id: str, volume_id: str, changes: dict[str, str], *, replace: bool = False
    ) -> dict[str, str]:
        """Add or change some, or with `replace` have these and no others; returns all of it.

        Raises `VolumeMetadataFixed` where one would change that is the service's own: it may be
        sent back as it was shown. `VolumeMetadataTooLong` where all together is.
        """
        with self._database.transaction() as session:
            volume = find(session, project_id, volume_id)
            wanted = _without_own(volume, changes)
            _keep(volume, wanted if replace else {**volume.extra_metadata, **wanted})
            return _changed(session, volume)

    def remove(self, project_id: str, volume_id: str, key: str) -> None:
        """Remove one; raises `VolumeMetadataNotFound`, `VolumeMetadataFixed`."""
        with self._database.transaction() as session:
            volume = find(session, project_id, volume_id)
            if key in metadata_of(volume) and key not in volume.extra_metadata:
                raise VolumeMetadataFixed(key=key)
            if key not in volume.extra_metadata:
                raise VolumeMetadataNotFound(name=volume.name, key=key[:64])
            _keep(volume, {k: v for k, v in volume.extra_metadata.items() if k != key})
            _changed(session, volume)


def is_own(key: str) -> bool:
    """Whether this is a name of the service's own."""
    return key.startswith((SYSTEM, OURS))


def is_too_long(metadata: dict[str, str]) -> bool:
    """Whether this is more than a record may have."""
    return sum(len(key) + len(value) for key, value in metadata.items()) > TOTAL_LIMIT


def _without_own(volume: Volume, changes: dict[str, str]) -> dict[str, str]:
    there = metadata_of(volume)
    for key, value in changes.items():
        if is_own(key) and there.get(key) != value:
            raise VolumeMetadataFixed(key=key[:64])
    return {key: value for key, value in changes.items() if not is_own(key)}


def _keep(volume: Volume, metadata: dict[str, str]) -> None:
    if is_too_long(metadata):
        raise VolumeMetadataTooLong(name=volume.name, limit=TOTAL_LIMIT)
    volume.extra_metadata = metadata


def _changed(session: Session, volume: Volume) -> dict[str, str]:
    volume.updated_at = utcnow()
    session.flush()
    return metadata_of(volume)
