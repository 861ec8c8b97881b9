"""The life of snapshots: showing and describing them, and beginning the jobs that change layers.

How each kind of job is done is in a module of its own: `creation`, `deletion`, `rollback`.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from evsd.jobs.service import Jobs
from evsd.jobs.tables import Job
from evsd.key_channel.call import Call
from evsd.pools.pool import Pool, PoolError
from evsd.resource import Resource
from evsd.services.evs.errors import (
    SnapshotNotDeletable,
    SnapshotNotUsable,
    SnapshotSourceInvalid,
    SnapshotUpdateEmpty,
    SnapshotWorkFailed,
    VolumeHasSnapshots,
    VolumeNotRolledBack,
    VolumeNotSnapshotted,
)
from evsd.services.evs.lists import Found, Page, find_page
from evsd.services.evs.snapshots import jobs
from evsd.services.evs.snapshots.creation import SnapshotCreation, SnapshotGroupCreation
from evsd.services.evs.snapshots.deletion import SnapshotDeletion
from evsd.services.evs.snapshots.listing import SnapshotFilters, wanted
from evsd.services.evs.snapshots.records import (
    KIND,
    add_record,
    find,
    of_volume,
    require_none_under_way,
)
from evsd.services.evs.snapshots.rollback import Rollback
from evsd.services.evs.snapshots.states import SNAPSHOT_STATES, SnapshotEvent, SnapshotStatus
from evsd.services.evs.snapshots.sweeper import Sweeper
from evsd.services.evs.tables import Snapshot, Volume
from evsd.services.evs.volumes import quotas
from evsd.services.evs.volumes.records import find as find_volume
from evsd.services.evs.volumes.states import VOLUME_STATES, VolumeEvent, VolumeStatus
from evsd.services.evs.volumes.tags import add_tags, remove_tags, require_few, values_by_key
from evsd.services.kms.consumers import rename_dependent
from evsd.serving.snapshots import DiskSnapshots
from evsd.store.database import Database, utcnow
from evsd.store.transitions import advance

# Of an attached volume only who says so gets one, on those paths that publish it.
TAKEN_FROM = (VolumeStatus.AVAILABLE, VolumeStatus.IN_USE)


@dataclass(frozen=True, slots=True)
class NewSnapshot:
    """What a caller asks for; without a name evsd gives one. `attached` is whether it may be so."""

    volume_id: str
    name: str | None = None
    description: str = ""
    attached: bool = True
    metadata: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


class SnapshotService(Resource):
    """The snapshots of all projects."""

    def __init__(
        self, database: Database, pool: Pool, disks: DiskSnapshots, job_service: Jobs
    ) -> None:
        self._database, self._disks, self._jobs = database, disks, job_service
        self._sweeper = Sweeper(disks)
        self._kinds = (
            SnapshotCreation(database, pool, disks),
            SnapshotGroupCreation(database, pool, disks),
            Rollback(database, pool, disks),
            SnapshotDeletion(database, pool, disks, self._sweeper),
        )
        job_service.add(*self._kinds)
        self.sweep = self._sweeper.sweep

    def start(self) -> None:
        """Go on with jobs that were interrupted, then with layers that could not go before."""
        self._jobs.resume(*self._kinds)
        self._sweeper.start()

    def close(self) -> None:
        """Let no more layers go; the next run does."""
        self._sweeper.close()

    def create(self, call: Call, wanted: NewSnapshot) -> tuple[Snapshot, Job]:
        """Take a snapshot; the job is running for an attached volume.

        Raises `VolumeNotFound`, `VolumeNotSnapshotted`, `SnapshotUnderWay`,
        `SnapshotQuotaExceeded`, `VolumeTagQuotaExceeded`, `SnapshotWorkFailed`,
        `SnapshotChainTooLong`, what a full pool refuses; nothing is left then.
        """
        with self._database.transaction() as session:
            snapshot, served = self.enter(session, call, wanted)
            job = self._begin(session, jobs.CREATE, snapshot, served=served)
        job = self._jobs.start(job)
        return self.show(call.project_id, snapshot.id), job

    def enter(
        self, session: Session, call: Call, wanted: NewSnapshot, group_id: str | None = None
    ) -> tuple[Snapshot, bool]:
        """The record of a snapshot that is to be taken, and whether its volume is attached."""
        volume = find_volume(session, call.project_id, wanted.volume_id)
        served = volume.status == VolumeStatus.IN_USE
        if volume.status not in TAKEN_FROM or (served and not wanted.attached):
            raise VolumeNotSnapshotted(name=volume.name, status=volume.status)
        require_none_under_way(session, volume)
        quotas.require(session, call.project_id, snapshots=1)
        snapshot = _new_record(call, wanted, volume, group_id)
        require_few(snapshot.name, snapshot.tags)
        add_record(session, snapshot)
        return snapshot, served

    def show(self, project_id: str, snapshot_id: str) -> Snapshot:
        """One snapshot; raises `SnapshotNotFound`, for a foreign project's too."""
        with self._database.reading() as session:
            return find(session, project_id, snapshot_id)

    def list_page(self, project_id: str, page: Page, filters: SnapshotFilters) -> Found[Snapshot]:
        """One page of a project's snapshots; raises `SnapshotMarkerUnknown`."""
        with self._database.reading() as session:
            return find_page(session, wanted(project_id, filters), page)

    def of_volume(self, volume_id: str) -> Sequence[Snapshot]:
        """All snapshots of a volume, oldest first."""
        with self._database.reading() as session:
            return of_volume(session, volume_id)

    def require_none(self, project_id: str, volume_id: str) -> None:
        """Raise `VolumeHasSnapshots` where that is so."""
        with self._database.reading() as session:
            volume = find_volume(session, project_id, volume_id)
            there = of_volume(session, volume_id)
        if there:
            raise VolumeHasSnapshots(name=volume.name, count=len(there))

    def volumes(self, project_id: str) -> Sequence[str]:
        """The volumes of a project that have snapshots."""
        query = select(Snapshot.volume_id).where(Snapshot.project_id == project_id)
        with self._database.reading() as session:
            return session.scalars(query.distinct().order_by(Snapshot.volume_id)).all()

    def used_bytes(self, volume_id: str) -> int:
        """What a volume and its snapshots take in the pool."""
        return sum(layer.used for layer in self._disks.usage(volume_id))

    def update(
        self, project_id: str, snapshot_id: str, name: str | None, description: str | None
    ) -> Snapshot:
        """Change name, description, or both; raises `SnapshotUpdateEmpty` for neither."""
        if name is None and description is None:
            raise SnapshotUpdateEmpty()
        with self._database.transaction() as session:
            snapshot = find(session, project_id, snapshot_id)
            snapshot.name = snapshot.name if name is None else name
            if description is not None:
                snapshot.description = description
            snapshot.updated_at = utcnow()
            rename_dependent(session, KIND, snapshot.id, snapshot.name)
        return snapshot

    def tag(self, project_id: str, snapshot_id: str, tags: Mapping[str, str]) -> None:
        """Add tags, or change their values; raises `VolumeTagQuotaExceeded`."""
        with self._database.transaction() as session:
            add_tags(find(session, project_id, snapshot_id), tags)

    def untag(self, project_id: str, snapshot_id: str, keys: Sequence[str]) -> None:
        """Remove tags; one that isn't there is no matter, as published."""
        with self._database.transaction() as session:
            remove_tags(find(session, project_id, snapshot_id), keys)

    def tags_of_project(self, project_id: str) -> dict[str, list[str]]:
        """All tags of a project's snapshots, each with its values."""
        query = select(Snapshot.tags).where(Snapshot.project_id == project_id)
        with self._database.reading() as session:
            return values_by_key(session.scalars(query))

    def delete(self, project_id: str, snapshot_id: str) -> Job:
        """Delete a snapshot, wherever it is in a chain; returns the job: it is done.

        Raises `SnapshotNotDeletable` unless it is available or in error, `SnapshotUnderWay`.
        """
        with self._database.transaction() as session:
            job = self.begin_deletion(session, find(session, project_id, snapshot_id))
        return self._jobs.start(job)

    def begin_deletion(self, session: Session, snapshot: Snapshot) -> Job:
        """Note that it is deleted; returns the job to start."""
        if SNAPSHOT_STATES.after(snapshot.status, SnapshotEvent.DELETE) is None:
            raise SnapshotNotDeletable(name=snapshot.name, status=snapshot.status)
        require_none_under_way(session, session.get_one(Volume, snapshot.volume_id))
        advance(session, snapshot, SNAPSHOT_STATES, SnapshotEvent.DELETE)
        return self._begin(session, jobs.DELETE, snapshot)

    def roll_back(self, project_id: str, snapshot_id: str, volume_id: str | None) -> Job:
        """Let a volume be what it was; it keeps its size. Returns the job: it is done.

        Raises `SnapshotSourceInvalid` for another volume than the snapshot's, `SnapshotNotUsable`,
        `VolumeNotRolledBack` unless the volume is available, `SnapshotUnderWay`, and what the pool
        refuses.
        """
        snapshot = self.show(project_id, snapshot_id)
        if volume_id not in (None, snapshot.volume_id):
            raise SnapshotSourceInvalid(name=snapshot.name, volume=snapshot.volume_id)
        try:
            top = self._disks.top(snapshot.volume_id)
        except PoolError as error:
            raise SnapshotWorkFailed(name=snapshot.name, reason=error) from error
        with self._database.transaction() as session:
            snapshot = find(session, project_id, snapshot_id)
            volume = find_volume(session, project_id, snapshot.volume_id)
            require_none_under_way(session, volume)
            if not advance(session, snapshot, SNAPSHOT_STATES, SnapshotEvent.ROLL_BACK):
                raise SnapshotNotUsable(name=snapshot.name, status=snapshot.status)
            if not advance(session, volume, VOLUME_STATES, VolumeEvent.ROLL_BACK):
                raise VolumeNotRolledBack(name=volume.name, status=volume.status)
            job = self._begin(session, jobs.ROLL_BACK, snapshot, top=top)
        job = self._jobs.start(job)
        self.sweep()
        return job

    def _begin(self, session: Session, kind: str, snapshot: Snapshot, **arguments: object) -> Job:
        about = jobs.about(snapshot)
        return self._jobs.begin(session, kind, snapshot.project_id, about, **arguments)


def _new_record(call: Call, wanted: NewSnapshot, volume: Volume, group_id: str | None) -> Snapshot:
    snapshot_id, now = str(uuid.uuid4()), utcnow()
    return Snapshot(
        id=snapshot_id,
        project_id=call.project_id,
        volume_id=volume.id,
        group_id=group_id,
        name=wanted.name or f"snapshot-{snapshot_id[:8]}",
        description=wanted.description,
        size_gib=volume.size_gib,
        volume_type=volume.volume_type,
        availability_zone=volume.availability_zone,
        status=SnapshotStatus.CREATING,
        cmk_id=volume.cmk_id,
        extra_metadata=wanted.metadata,
        tags=wanted.tags,
        user_name=call.principal,
        user_id=call.user_id,
        created_at=now,
        updated_at=now,
    )
