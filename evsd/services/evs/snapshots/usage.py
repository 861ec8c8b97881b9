"""What volumes and their snapshots take of the pool, each by itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from evsd.pools.pool import PoolError
from evsd.services.evs.errors import PoolUnknown
from evsd.services.evs.tables import Snapshot, Volume
from evsd.serving.snapshots import DiskSnapshots
from evsd.store.database import Database


@dataclass(frozen=True, slots=True)
class SnapshotUsage:
    """In bytes: what its layer takes, and what of it comes back if the snapshot is deleted."""

    snapshot: Snapshot
    used: int
    exclusive: int


@dataclass(frozen=True, slots=True)
class VolumeUsage:
    """In bytes: what was written since the last snapshot, and what deleted ones have left."""

    volume: Volume
    own: int
    hidden: int
    snapshots: Sequence[SnapshotUsage]

    @property
    def used(self) -> int:
        """All that comes back if the volume is deleted."""
        return self.own + self.hidden + sum(each.used for each in self.snapshots)


class PoolUsage:
    """Who has what of the pool."""

    def __init__(self, database: Database, disks: DiskSnapshots) -> None:
        self._database, self._disks = database, disks

    def of_project(self, project_id: str, volume_id: str | None = None) -> list[VolumeUsage]:
        """Of each volume of a project, or of one; raises `PoolUnknown`."""
        with self._database.reading() as session:
            volumes = select(Volume).where(Volume.project_id == project_id)
            snapshots = select(Snapshot).where(Snapshot.project_id == project_id)
            if volume_id is not None:
                volumes = volumes.where(Volume.id == volume_id)
            taken: dict[str, list[Snapshot]] = defaultdict(list)
            for snapshot in session.scalars(snapshots.order_by(Snapshot.created_at)):
                taken[snapshot.volume_id].append(snapshot)
            found = session.scalars(volumes.order_by(Volume.name)).all()
        try:
            return self._of(found, taken)
        except PoolError as error:
            raise PoolUnknown() from error

    def _of(self, volumes: Sequence[Volume], taken: dict[str, list[Snapshot]]) -> list[VolumeUsage]:
        layers = self._disks.usage_of({volume.id for volume in volumes})
        frozen = {layer.snapshot_id: (layer.used, back) for layer, back in layers}
        own = {layer.disk_id: layer.used for layer, _ in layers if layer.is_top}
        hidden: dict[str, int] = defaultdict(int)
        for layer, _ in layers:
            if not (layer.is_top or layer.snapshot_id):
                hidden[layer.disk_id] += layer.used
        return [
            VolumeUsage(
                volume=volume,
                own=own.get(volume.id, 0),
                hidden=hidden[volume.id],
                snapshots=[
                    SnapshotUsage(each, *frozen[each.id])
                    for each in taken[volume.id]
                    if each.id in frozen
                ],
            )
            for volume in volumes
        ]
