"""The records of snapshots: finding some, entering one with its key, forgetting it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from evsd.layers.recovery import FoundSnapshot
from evsd.services.evs.errors import SnapshotNotFound, SnapshotUnderWay
from evsd.services.evs.limits import GIB
from evsd.services.evs.snapshots.states import SnapshotStatus
from evsd.services.evs.tables import Snapshot, Volume
from evsd.services.kms.consumers import add_dependent, remove_dependent

KIND = "snapshot"  # as what hangs on a key
# States in which nothing else may be begun with the volume.
EXCLUSIVE = (SnapshotStatus.CREATING, SnapshotStatus.ROLLBACKING, SnapshotStatus.DELETING)


def find(session: Session, project_id: str, snapshot_id: str) -> Snapshot:
    """The snapshot's record in this session; a foreign one looks like a missing one."""
    snapshot = session.get(Snapshot, snapshot_id)
    if snapshot is None or snapshot.project_id != project_id:
        raise SnapshotNotFound(name=snapshot_id)
    return snapshot


def of_volume(session: Session, volume_id: str) -> Sequence[Snapshot]:
    """All snapshots of a volume, oldest first."""
    query = select(Snapshot).where(Snapshot.volume_id == volume_id)
    return session.scalars(query.order_by(Snapshot.created_at, Snapshot.id)).all()


def require_none_under_way(session: Session, volume: Volume) -> None:
    """Refuse what would change a volume while a job works on a snapshot of it.

    Raises `SnapshotUnderWay`.
    """
    query = select(Snapshot).where(Snapshot.volume_id == volume.id, Snapshot.status.in_(EXCLUSIVE))
    found = session.scalars(query).first()
    if found is not None:
        raise SnapshotUnderWay(name=found.name, status=found.status, volume=volume.name)


def add_record(session: Session, snapshot: Snapshot) -> None:
    """Enter a new snapshot, with its key."""
    session.add(snapshot)
    session.flush()
    add_dependent(
        session,
        KIND,
        snapshot.id,
        snapshot.name,
        snapshot.project_id,
        snapshot.cmk_id,
        snapshot.created_at,
    )


def forget(session: Session, snapshot_id: str) -> None:
    """It is no more; nothing happens where that was so."""
    session.execute(delete(Snapshot).where(Snapshot.id == snapshot_id))
    remove_dependent(session, KIND, snapshot_id)


def forget_all(session: Session, volume_id: str) -> None:
    """Those of a volume that is no more."""
    for snapshot in of_volume(session, volume_id):
        forget(session, snapshot.id)


def recovered(volume: Volume, found: FoundSnapshot) -> Snapshot:
    """The record of a snapshot of which only the layer is there."""
    taken = datetime.fromtimestamp(found.taken, tz=UTC).replace(tzinfo=None)
    return Snapshot(
        id=found.snapshot_id,
        project_id=volume.project_id,
        volume_id=volume.id,
        name=f"recovered-{found.snapshot_id[:8]}",
        description="",
        size_gib=found.size // GIB,
        volume_type=volume.volume_type,
        availability_zone=volume.availability_zone,
        status=SnapshotStatus.AVAILABLE,
        cmk_id=volume.cmk_id,
        extra_metadata={},
        tags={},
        user_name=volume.user_name,
        user_id=volume.user_id,
        created_at=taken,
        updated_at=taken,
    )
