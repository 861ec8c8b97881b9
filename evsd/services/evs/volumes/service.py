"""The life of volumes: showing and changing them, and beginning the jobs that take several steps.

How each kind of job is done is in a module of its own: `creation`, `extension`, `deletion`. The
record of a volume is there before its file and goes after it; how far an interrupted job came, the
file says, for the records may be from a backup. At start no file is ever removed, cut or
overwritten that somebody can have data in.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from evsd.jobs.service import Jobs, finish
from evsd.jobs.tables import Job
from evsd.pools.pool import Pool
from evsd.services.evs.consumer import CONSUMER
from evsd.services.evs.errors import (
    AttachedVolumeNotExtendable,
    JobNotFound,
    VolumeNameTaken,
    VolumeNotDeletable,
    VolumeNotExtendable,
    VolumeNotLarger,
    VolumeNotRetyped,
    VolumeUpdateEmpty,
)
from evsd.services.evs.lists import Found, Page, find_page
from evsd.services.evs.snapshots.records import require_none_under_way
from evsd.services.evs.tables import Volume
from evsd.services.evs.volumes import job_types, quotas
from evsd.services.evs.volumes.batches import BatchCreation, parts_of
from evsd.services.evs.volumes.comparison import compare
from evsd.services.evs.volumes.creation import Creation
from evsd.services.evs.volumes.deletion import Deletion, Removal
from evsd.services.evs.volumes.extension import Extension
from evsd.services.evs.volumes.images import OfferedImages
from evsd.services.evs.volumes.listing import Filters, wanted
from evsd.services.evs.volumes.own_use import OwnUse
from evsd.services.evs.volumes.records import find
from evsd.services.evs.volumes.states import VOLUME_STATES, VolumeEvent, VolumeStatus
from evsd.services.evs.volumes.tags import values_by_key
from evsd.services.evs.volumes.types import TYPES, name_of
from evsd.services.kms.consumers import rename_dependent
from evsd.serving.snapshots import DiskSnapshots
from evsd.store.database import Database, utcnow
from evsd.store.transitions import advance

RETYPABLE = (VolumeStatus.AVAILABLE, VolumeStatus.IN_USE)


class VolumeService:
    """The volumes of all projects."""

    def __init__(
        self,
        database: Database,
        pool: Pool,
        own_use: OwnUse,
        disks: DiskSnapshots,
        jobs: Jobs,
        images: OfferedImages,
    ) -> None:
        self._database, self._pool, self._jobs = database, pool, jobs
        self._images, self._disks = images, disks
        removal = Removal(database, pool, own_use, disks)
        self._kinds = (
            Creation(database, pool, own_use, removal, images, disks),
            Extension(database, pool, own_use, disks),
            Deletion(removal),
        )
        self._batches = BatchCreation(database, jobs)
        jobs.add(*self._kinds, self._batches)

    def start(self) -> None:
        """Go on with jobs that were interrupted, then look at what is in the pool."""
        self._jobs.resume(*self._kinds)
        self._jobs.resume(self._batches)  # when its parts have ended
        compare(self._database, self._pool, self._disks, self._images)

    def extend(self, project_id: str, volume_id: str, size_gib: int) -> Job:
        """Make the volume larger; returns the job, which is running for a thick one.

        An attached one's clients see the new size when they connect anew, see
        `attachments.resizing`. Raises `VolumeNotExtendable`, also for a thick one that is attached,
        `VolumeNotLarger`, `PoolFailed`. The volume is then as it was.
        """
        with self._database.transaction() as session:
            volume = find(session, project_id, volume_id)
            if size_gib <= volume.size_gib:
                raise VolumeNotLarger(name=volume.name, size=volume.size_gib, value=size_gib)
            status = volume.status
            served = status == VolumeStatus.IN_USE
            if served and not volume.thin:  # its server would have to fill it beside its clients
                raise AttachedVolumeNotExtendable(name=volume.name)
            require_none_under_way(session, volume)
            if not advance(session, volume, VOLUME_STATES, VolumeEvent.EXTEND):
                raise VolumeNotExtendable(name=volume.name, status=status)
            quotas.require(session, project_id, gigabytes=size_gib - volume.size_gib)
            how = {"again": status == VolumeStatus.ERROR_EXTENDING, "served": served}
            job = self._begin(session, job_types.EXTEND, volume, size_gib=size_gib, **how)
        return self._jobs.start(job)

    def retype(self, project_id: str, volume_id: str, reference: str) -> Job:
        """Give the volume a higher type, which changes nothing else; returns the job: it is done.

        Raises `VolumeNotRetyped`.
        """
        with self._database.transaction() as session:
            volume = find(session, project_id, volume_id)
            new = name_of(reference)
            reason = _against_retyping(volume, new)
            if reason:
                raise VolumeNotRetyped(
                    name=volume.name, old=volume.volume_type, new=new[:64], reason=reason
                )
            volume.volume_type, volume.updated_at = new, utcnow()
            return finish(session, self._begin(session, job_types.RETYPE, volume).id)

    def delete(self, project_id: str, volume_id: str) -> Job:
        """Destroy the volume; raises `VolumeNotDeletable` unless it is available.

        One that is still being filled may be deleted too: that cancels its creation.
        """
        volume = self.show(project_id, volume_id)
        if volume.status == VolumeStatus.CREATING:
            self._cancel_creation(volume_id)
        with self._database.transaction() as session:
            if volume.status == VolumeStatus.CREATING and session.get(Volume, volume_id) is None:
                job = self._begin(session, job_types.DELETE, volume)
                return finish(session, job.id)
            volume = find(session, project_id, volume_id)
            require_none_under_way(session, volume)
            if not advance(session, volume, VOLUME_STATES, VolumeEvent.DELETE):
                raise VolumeNotDeletable(name=volume.name, status=volume.status)
            job = self._begin(session, job_types.DELETE, volume)
        return self._jobs.start(job)

    def show(self, project_id: str, volume_id: str) -> Volume:
        """One volume; raises `VolumeNotFound`, for a foreign project's too."""
        with self._database.reading() as session:
            return find(session, project_id, volume_id)

    def list_page(self, project_id: str, page: Page, filters: Filters) -> Found[Volume]:
        """One page of a project's volumes; raises `VolumeMarkerUnknown`."""
        with self._database.reading() as session:
            return find_page(session, wanted(project_id, filters), page)

    def summary(self, project_id: str) -> tuple[int, int, dict[str, list[str]]]:
        """How many volumes, of how many GiB, and the metadata that their users gave them."""
        query = select(Volume.size_gib, Volume.extra_metadata)
        with self._database.reading() as session:
            found = session.execute(query.where(Volume.project_id == project_id)).all()
        sizes = [size for size, _ in found]
        return len(sizes), sum(sizes), values_by_key(metadata for _, metadata in found)

    def update(
        self, project_id: str, volume_id: str, name: str | None, description: str | None
    ) -> Volume:
        """Change the name, or the description, or both.

        Raises `VolumeUpdateEmpty` for neither, `VolumeNotFound`, `VolumeNameTaken`.
        """
        if name is None and description is None:
            raise VolumeUpdateEmpty()
        changes = {"name": name, "description": description, "updated_at": utcnow()}
        with self._database.transaction() as session:
            volume = find(session, project_id, volume_id)
            for field_name, value in changes.items():
                if value is not None:
                    setattr(volume, field_name, value)
            try:
                session.flush()
            except IntegrityError as error:
                raise VolumeNameTaken(name=name, reason="") from error
            rename_dependent(session, CONSUMER.kind, volume_id, volume.name)
        return volume

    def job(self, project_id: str, job_id: str) -> Job:
        """One job; raises `JobNotFound`."""
        with self._database.reading() as session:
            job = session.get(Job, job_id)
        if job is None or job.project_id != project_id:
            raise JobNotFound(job_id=job_id)
        return job

    def parts(self, job: Job) -> list[Job]:
        """The jobs that it consists of; none of one that is about one volume."""
        with self._database.reading() as session:
            return parts_of(session, job)

    def ids_of(self, job: Job) -> list[str]:
        """The volumes that a job is about."""
        return [job_types.volume_of(part) for part in self.parts(job) or [job]]

    def _begin(
        self,
        session: Session,
        kind: str,
        volume: Volume,
        *,
        size_gib: int | None = None,
        **arguments: Any,
    ) -> Job:
        entities = job_types.about(volume, size_gib=size_gib)
        return self._jobs.begin(session, kind, volume.project_id, entities, **arguments)

    def _cancel_creation(self, volume_id: str) -> None:
        creation = select(Job.id).where(job_types.under_way(job_types.CREATE, volume_id))
        with self._database.reading() as session:
            job_id = session.scalar(creation)
        if job_id is not None:
            self._jobs.cancel(job_id)


def _against_retyping(volume: Volume, new: str) -> str:
    """Why a volume can't have this type; empty if it can."""
    if volume.status not in RETYPABLE:
        return f"it is {volume.status}, only an available or attached one's can be changed"
    if new not in TYPES:
        return f"there are {', '.join(TYPES)}"
    old = TYPES.get(volume.volume_type)
    if old is not None and TYPES[new].rank <= old.rank:
        return "it is not a higher one"
    return ""
