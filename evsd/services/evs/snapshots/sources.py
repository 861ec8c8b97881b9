"""Snapshots that new volumes are made of: what the volume has of them, and what it can't have."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy.orm import Session

from evsd.services.evs.errors import (
    EvsRequestInvalid,
    SnapshotNotUsable,
    VolumeSmallerThanSnapshot,
    VolumeTypeDiffers,
)
from evsd.services.evs.snapshots.records import find
from evsd.services.evs.snapshots.states import SnapshotStatus
from evsd.services.evs.tables import Volume
from evsd.services.evs.volumes.creation import NewVolume


def of_snapshot(session: Session, project_id: str, wanted: NewVolume) -> NewVolume:
    """With the key, the type and the provisioning of its snapshot, if it is made of one.

    Raises `SnapshotNotFound`, `SnapshotNotUsable`, `VolumeSmallerThanSnapshot`,
    `VolumeTypeDiffers`.
    """
    if wanted.snapshot_id is None:
        return wanted
    snapshot = find(session, project_id, wanted.snapshot_id)
    if snapshot.status != SnapshotStatus.AVAILABLE:
        raise SnapshotNotUsable(name=snapshot.name, status=snapshot.status)
    if wanted.size_gib < snapshot.size_gib:
        raise VolumeSmallerThanSnapshot(
            name=snapshot.name, size=snapshot.size_gib, value=wanted.size_gib
        )
    kind = wanted.volume_type or snapshot.volume_type
    if kind != snapshot.volume_type:
        raise VolumeTypeDiffers(name=snapshot.name, type=snapshot.volume_type, value=kind)
    thick = not session.get_one(Volume, snapshot.volume_id).thin
    if wanted.thick and not thick:
        raise EvsRequestInvalid(reason="a volume of a thin one's snapshot is thin")
    return replace(
        wanted,
        cmk_id=snapshot.cmk_id,
        volume_type=kind,
        thick=thick,
        source_id=snapshot.volume_id,
    )
