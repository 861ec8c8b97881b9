"""Deleting volumes: the file goes first, then the record. A creation that failed ends so, too.

After an interruption the file says how far it came: of one that is still whole nothing is deleted.
"""

from __future__ import annotations

from typing import ClassVar

import structlog
from sqlalchemy.orm import Session

from evsd.errors import PublishedError
from evsd.jobs.kinds import JobKind, Work
from evsd.jobs.service import finish
from evsd.jobs.tables import Job
from evsd.pools.pool import Pool, PoolError
from evsd.services.evs.consumer import CONSUMER
from evsd.services.evs.errors import VolumeNotDeleted
from evsd.services.evs.snapshots.records import forget_all
from evsd.services.evs.tables import Volume
from evsd.services.evs.volumes import job_types
from evsd.services.evs.volumes.failures import FAILURES, published
from evsd.services.evs.volumes.own_use import OwnUse
from evsd.services.evs.volumes.states import VOLUME_STATES, VolumeEvent
from evsd.services.kms.consumers import remove_dependent
from evsd.serving.snapshots import DiskSnapshots
from evsd.store.database import Database
from evsd.store.transitions import advance

log = structlog.get_logger()


def interrupted() -> PoolError:
    """What keeps a job that was interrupted from its end, where it can't be gone on with."""
    return PoolError("evsd was interrupted")


class Removal:
    """Taking files away, and noting where that could not be done."""

    def __init__(
        self, database: Database, pool: Pool, own_use: OwnUse, disks: DiskSnapshots
    ) -> None:
        self._database, self.pool = database, pool
        self._own_use, self._disks = own_use, disks

    def remove(self, volume_id: str) -> None:
        """Remove the volume's file, of which nobody can have data, and its snapshots.

        Raises `PoolError` where the pool won't, `DetachFailed` where a server has it that can't be
        ended.
        """
        self._own_use.end(volume_id)
        self._disks.delete(volume_id)

    def not_removed(self, job_id: str, volume_id: str, error: Exception) -> PublishedError:
        """Note that a file is left: the volume stays.

        As it was if its file did, else in an error state from which it can be deleted again.
        """
        log.error("not deleted", volume=volume_id, reason=str(error))
        begun = not self._is_there(volume_id)
        with self._database.transaction() as session:
            volume = session.get_one(Volume, volume_id)
            failure = published(volume.name, error, self.pool.place)
            event = VolumeEvent.DELETE_FAILED if begun else VolumeEvent.DELETION_UNDONE
            if not begun:
                failure = VolumeNotDeleted(name=volume.name, reason=error)
            advance(session, volume, VOLUME_STATES, event)
            advance(session, volume, VOLUME_STATES, VolumeEvent.CREATE_FAILED)
            finish(session, job_id, failure)
        return failure

    def _is_there(self, volume_id: str) -> bool:
        """Whether a volume has its file under its name, which a deletion takes away first."""
        try:
            return self.pool.whole(volume_id) is not None
        except PoolError:  # nor is it changed where it can't be read
            return True


def forget(session: Session, volume_id: str) -> None:
    """The volume is no more."""
    volume = session.get(Volume, volume_id)
    if volume is not None:
        forget_all(session, volume_id)
        session.delete(volume)
        remove_dependent(session, CONSUMER.kind, volume_id)


class Deletion(JobKind):
    """The job: raises `VolumeNotDeleted`, `PoolFailed`, `DetachFailed`."""

    name = job_types.DELETE
    failures: ClassVar = FAILURES

    def __init__(self, removal: Removal) -> None:
        self._removal = removal

    def run(self, job: Job, work: Work) -> None:  # noqa: ARG002
        """Remove the file."""
        self._removal.remove(job_types.volume_of(job))

    def resume(self, job: Job, work: Work) -> None:
        """Go on where the file is not whole any more."""
        if self._removal.pool.whole(job_types.volume_of(job)) is not None:
            raise interrupted()
        self.run(job, work)

    def done(self, session: Session, job: Job) -> None:
        """The volume is no more."""
        forget(session, job_types.volume_of(job))

    def undo(self, job: Job, error: Exception, work: Work) -> PublishedError:  # noqa: ARG002
        """The volume stays."""
        return self._removal.not_removed(job.id, job_types.volume_of(job), error)
