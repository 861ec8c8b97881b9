"""Making volumes larger: the file grows first, then the record. An interrupted one is finished.

What fails is undone as long as nobody can have data behind the old end. Of an attached volume
nothing is undone: its file has grown, or it has not.
"""

from __future__ import annotations

from typing import ClassVar

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from evsd.errors import PublishedError
from evsd.jobs.kinds import JobKind, Work
from evsd.jobs.service import finish
from evsd.jobs.tables import Job
from evsd.pools.pool import (
    HeaderInvalid,
    Pool,
    PoolError,
    PoolFull,
    PoolReadOnly,
    SizeDiffers,
    Untouched,
    VolumeBusy,
)
from evsd.services.evs.attachments.states import AttachmentStatus
from evsd.services.evs.errors import VolumeNotExtended
from evsd.services.evs.limits import GIB
from evsd.services.evs.tables import Attachment, Volume
from evsd.services.evs.volumes import job_types
from evsd.services.evs.volumes.failures import FAILURES, published
from evsd.services.evs.volumes.own_use import OwnUse
from evsd.services.evs.volumes.preallocation import preallocate
from evsd.services.evs.volumes.states import VOLUME_STATES, VolumeEvent
from evsd.serving.snapshots import DiskSnapshots
from evsd.store.database import Database, utcnow
from evsd.store.transitions import advance

log = structlog.get_logger()


class Extension(JobKind):
    """The job: raises `VolumeNotExtended`, `PoolFailed`, and what a full pool refuses.

    `again` is told of one whose last try left the volume half extended.
    """

    name = job_types.EXTEND
    failures: ClassVar = FAILURES

    def __init__(
        self, database: Database, pool: Pool, own_use: OwnUse, disks: DiskSnapshots
    ) -> None:
        self._database, self._pool = database, pool
        self._own_use, self._disks = own_use, disks

    def lasts(self, job: Job, *, resumed: bool) -> bool:  # noqa: ARG002
        """What is added to a thick volume is filled."""
        return not self._volume(job).thin

    def run(self, job: Job, work: Work) -> None:
        """Let the file grow, and fill what was added."""
        volume, size = self._volume(job), int(job.entities["size"]) * GIB
        if _served(job):
            with self._disks.alone(volume.id):
                self._pool.grow_served(volume.id, volume.size_gib * GIB, size)
            return
        again = _again(job, work)
        with self._disks.alone(volume.id):
            start = self._pool.grow(volume.id, volume.size_gib * GIB, size, again=again)
        if start < size and not volume.thin:
            preallocate(self._own_use, volume.id, start, size, work)
        with self._disks.alone(volume.id):
            self._pool.settle(volume.id)

    def done(self, session: Session, job: Job) -> None:
        """The volume has its new size."""
        volume, size_gib = self._record(session, job), int(job.entities["size"])
        event, now = _end_of(session, volume, VolumeEvent.EXTENDED), utcnow()
        advance(session, volume, VOLUME_STATES, event, updated_at=now, size_gib=size_gib)

    def undo(self, job: Job, error: Exception, work: Work) -> PublishedError:
        """The volume is as it was, or half extended where that can't be done."""
        volume = self._volume(job)
        if isinstance(error, Untouched):
            return self._not_begun(job, volume, error.cause, again=_again(job, work))
        failure = published(volume.name, error, self._pool.place)
        event, size_gib = VolumeEvent.EXTENSION_UNDONE, volume.size_gib
        if _served(job):
            return self._end(job, event, failure, self._held(volume))
        try:
            self._own_use.end(volume.id)
            with self._disks.alone(volume.id):
                size_gib = self._pool.shrink(volume.id) // GIB
        except (PoolError, PublishedError) as stuck:
            log.error("it can't be undone", volume=volume.id, reason=str(stuck))
            event = VolumeEvent.EXTENSION_FAILED
        return self._end(job, event, failure, size_gib)

    def _not_begun(
        self, job: Job, volume: Volume, cause: PoolError, *, again: bool
    ) -> PublishedError:
        """The end of one that the file refused: the volume is what it was before.

        With `again` an earlier try may have begun. Where the file holds more than its record
        says, the file is right: the record is from a backup.
        """
        failure, size_gib = _not_extended(volume.name, cause), volume.size_gib
        if isinstance(cause, PoolFull | PoolReadOnly):
            failure = published(volume.name, cause, self._pool.place)
        half = again and not _served(job)
        event = VolumeEvent.EXTENSION_FAILED if half else VolumeEvent.EXTENSION_UNDONE
        if isinstance(cause, SizeDiffers):
            event = VolumeEvent.EXTENSION_UNDONE
            size_gib = max(size_gib, cause.held // GIB)
        return self._end(job, event, failure, size_gib)

    def _end(
        self, job: Job, event: VolumeEvent, failure: PublishedError, size_gib: int
    ) -> PublishedError:
        with self._database.transaction() as session:
            volume = self._record(session, job)
            event = _end_of(session, volume, event)
            advance(session, volume, VOLUME_STATES, event, size_gib=size_gib)
            finish(session, job.id, failure)
        return failure

    def _held(self, volume: Volume) -> int:
        """How many GiB its file says that it has; what the record says where that can't be read."""
        try:
            return max(volume.size_gib, self._pool.header(volume.id).settled // GIB)
        except PoolError:
            return volume.size_gib

    def _volume(self, job: Job) -> Volume:
        with self._database.reading() as session:
            return self._record(session, job)

    def _record(self, session: Session, job: Job) -> Volume:
        return session.get_one(Volume, job_types.volume_of(job))


def _served(job: Job) -> bool:
    """Whether the volume was attached when it began."""
    return bool(job.arguments.get("served"))


def _end_of(session: Session, volume: Volume, event: VolumeEvent) -> VolumeEvent:
    """How it ends for a volume that is attached, or is being detached, by now; else `event`."""
    attachment = session.scalar(select(Attachment).where(Attachment.volume_id == volume.id))
    if attachment is None:
        return event
    if attachment.status == AttachmentStatus.DETACHING:
        return VolumeEvent.EXTENSION_ENDED_DETACHING
    return VolumeEvent.EXTENSION_ENDED_ATTACHED


def _again(job: Job, work: Work) -> bool:
    return work.resumed or bool(job.arguments.get("again"))


def _not_extended(name: str, cause: PoolError) -> PublishedError:
    """What the caller is told of an extension that the file refused."""
    if isinstance(cause, SizeDiffers):
        remedy = "if its header is an old one: evsctl header restore {name} FILE"
    elif isinstance(cause, HeaderInvalid):
        remedy = "mend its header: evsctl header restore {name} FILE, then extend it again"
    elif isinstance(cause, VolumeBusy):
        remedy = "end what has the file open, then extend it again"
    else:
        remedy = "look at the pool's filesystem, then extend it again"
    return VolumeNotExtended(name=name, reason=cause, remedy=remedy.format(name=name))
