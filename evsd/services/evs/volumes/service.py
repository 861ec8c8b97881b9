"""The life of volumes: showing and changing them, and beginning the jobs that take several steps.

How each kind of job is done is in a module of its own: `creation`, `extension`, `deletion`. The
record of a volume is there before its file and goes after it; how far an interrupted job came, the
file says, for the records may be from a backup. At start no file is ever removed, cut or
overwritten that somebody can have data in.
"""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from evsd.jobs.service import Jobs, finish
from evsd.jobs.tables import Job
from evsd.key_channel.call import Call
from evsd.key_client.process import KeyProcess
from evsd.pools.pool import Pool
from evsd.services.evs.consumer import CONSUMER
from evsd.services.evs.errors import (
    JobNotFound,
    VolumeEncryptionInvalid,
    VolumeKeyNotEnabled,
    VolumeNameTaken,
    VolumeNotDeletable,
    VolumeNotExtendable,
    VolumeNotLarger,
)
from evsd.services.evs.key_context import encryption_context
from evsd.services.evs.tables import Volume
from evsd.services.evs.volumes import job_types, quotas
from evsd.services.evs.volumes.comparison import compare
from evsd.services.evs.volumes.creation import Creation, NewVolume, arguments_of, new_record
from evsd.services.evs.volumes.deletion import Deletion, Removal
from evsd.services.evs.volumes.extension import Extension
from evsd.services.evs.volumes.listing import Filters, Found, Page, find_page
from evsd.services.evs.volumes.own_use import OwnUse
from evsd.services.evs.volumes.records import add_record, find
from evsd.services.evs.volumes.states import VOLUME_STATES, VolumeEvent, VolumeStatus
from evsd.services.kms.consumers import rename_dependent
from evsd.services.kms.errors import KeyNotFound, KeyUnusable
from evsd.services.kms.operations import CreateServiceKey, ServiceKey
from evsd.store.database import Database, utcnow
from evsd.store.transitions import advance


class VolumeService:
    """The volumes of all projects."""

    def __init__(
        self, database: Database, keys: KeyProcess, pool: Pool, own_use: OwnUse, jobs: Jobs
    ) -> None:
        self._database, self._keys, self._pool, self._jobs = database, keys, pool, jobs
        removal = Removal(database, pool, own_use)
        self._kinds = (
            Creation(database, pool, own_use, removal),
            Extension(database, pool, own_use),
            Deletion(removal),
        )
        jobs.add(*self._kinds)

    def start(self) -> None:
        """Go on with jobs that were interrupted, then look at what is in the pool."""
        self._jobs.resume(*self._kinds)
        compare(self._database, self._pool)

    def check(self, project_id: str, wanted: NewVolume) -> None:
        """Refuse a name that is taken, and what a quota forbids; `create` has the last word."""
        if self.list_page(project_id, Page(limit=1), Filters({"name": wanted.name})).total:
            raise VolumeNameTaken(name=wanted.name, reason="")
        with self._database.reading() as session:
            quotas.require(session, project_id, volumes=1, gigabytes=wanted.size_gib)

    def create(self, call: Call, wanted: NewVolume) -> Job:
        """Make a volume and its data key; returns the job, which is running for a thick one.

        Raises `VolumeNameTaken`, `DelegationMissing`, `VolumeKeyNotEnabled`,
        `VolumeEncryptionInvalid`, `PoolFailed`, and what a quota or a full pool refuses; nothing is
        left of the volume then.
        """
        volume_id = str(uuid.uuid4())
        self.check(call.project_id, wanted)  # before a data key is made for nothing
        key = self._new_key(call, wanted.cmk_id, volume_id)
        with self._database.transaction() as session:
            quotas.require(session, call.project_id, volumes=1, gigabytes=wanted.size_gib)
            volume = new_record(call, wanted, volume_id, key)
            arguments = arguments_of(wanted, key)
            job = self._begin(session, job_types.CREATE, volume, **arguments)
            add_record(session, volume)
        return self._jobs.start(job)

    def extend(self, project_id: str, volume_id: str, size_gib: int) -> Job:
        """Make the volume larger; returns the job, which is running for a thick one.

        Raises `VolumeNotExtendable` for one that is attached, too: its clients would not be told;
        `VolumeNotLarger`, `PoolFailed`. The volume is then as it was.
        """
        with self._database.transaction() as session:
            volume = find(session, project_id, volume_id)
            if size_gib <= volume.size_gib:
                raise VolumeNotLarger(name=volume.name, size=volume.size_gib, value=size_gib)
            status = volume.status
            if not advance(session, volume, VOLUME_STATES, VolumeEvent.EXTEND):
                raise VolumeNotExtendable(name=volume.name, status=status)
            quotas.require(session, project_id, gigabytes=size_gib - volume.size_gib)
            again = status == VolumeStatus.ERROR_EXTENDING
            job = self._begin(session, job_types.EXTEND, volume, size_gib=size_gib, again=again)
        return self._jobs.start(job)

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
            if not advance(session, volume, VOLUME_STATES, VolumeEvent.DELETE):
                raise VolumeNotDeletable(name=volume.name, status=volume.status)
            job = self._begin(session, job_types.DELETE, volume)
        return self._jobs.start(job)

    def show(self, project_id: str, volume_id: str) -> Volume:
        """One volume; raises `VolumeNotFound`, for a foreign project's too."""
        with self._database.reading() as session:
            return find(session, project_id, volume_id)

    def list_page(self, project_id: str, page: Page, filters: Filters) -> Found:
        """One page of a project's volumes; raises `VolumeMarkerUnknown`."""
        with self._database.reading() as session:
            return find_page(session, project_id, page, filters)

    def all_tags(self, project_id: str) -> list[dict[str, str]]:
        """The tags of each of a project's volumes."""
        with self._database.reading() as session:
            return list(session.scalars(select(Volume.tags).where(Volume.project_id == project_id)))

    def update(
        self, project_id: str, volume_id: str, name: str | None, description: str | None
    ) -> Volume:
        """Change the name, or the description, or both; raises `VolumeNameTaken`."""
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

    def _new_key(self, call: Call, cmk_id: str | None, volume_id: str) -> ServiceKey:
        context = encryption_context(call.project_id, volume_id)
        try:
            return self._keys.call(call, CreateServiceKey(CONSUMER.service, cmk_id, context))
        except KeyUnusable as error:
            raise VolumeKeyNotEnabled(reason=error.text) from error
        except KeyNotFound as error:
            raise VolumeEncryptionInvalid(reason=error.message) from error
