"""Rolling a volume back: what was written since goes, and the volume stands on the snapshot.

Where it was interrupted the files say whether it was done; if not, nothing has changed.
"""

from __future__ import annotations

from typing import ClassVar

from sqlalchemy.orm import Session

from evsd.errors import PublishedError
from evsd.jobs.kinds import JobKind, Work
from evsd.jobs.service import finish
from evsd.jobs.tables import Job
from evsd.pools.pool import Pool, PoolError
from evsd.services.evs.snapshots import jobs
from evsd.services.evs.snapshots.failures import FAILURES, Interrupted, published
from evsd.services.evs.snapshots.states import SNAPSHOT_STATES, SnapshotEvent
from evsd.services.evs.tables import Snapshot, Volume
from evsd.services.evs.volumes.states import VOLUME_STATES, VolumeEvent
from evsd.serving.snapshots import DiskSnapshots
from evsd.store.database import Database, utcnow
from evsd.store.transitions import advance


class Rollback(JobKind):
    """The job: raises `SnapshotWorkFailed`, and what a full pool refuses.

    `top` is the layer that was written to when it began: a roll back gives the volume another.
    """

    name = jobs.ROLL_BACK
    failures: ClassVar = FAILURES

    def __init__(self, database: Database, pool: Pool, disks: DiskSnapshots) -> None:
        self._database, self._pool, self._disks = database, pool, disks

    def run(self, job: Job, work: Work) -> None:  # noqa: ARG002
        """Change the layers."""
        [snapshot_id] = jobs.snapshots_of(job)
        self._disks.roll_back(_volume_of(job), snapshot_id)

    def resume(self, job: Job, work: Work) -> None:  # noqa: ARG002
        """Not again: on a database from a backup it may have been done long ago."""
        if self._disks.top(_volume_of(job)) == job.arguments["top"]:
            raise Interrupted

    def done(self, session: Session, job: Job) -> None:
        """The volume is available."""
        self._end(session, job, VolumeEvent.ROLLED_BACK)

    def undo(self, job: Job, error: Exception, work: Work) -> PublishedError:  # noqa: ARG002
        """The volume is as it was; where nobody can tell, in error."""
        failure = published(str(job.entities["name"]), error, self._pool.place)
        try:
            untouched = self._disks.top(_volume_of(job)) == job.arguments["top"]
        except PoolError:
            untouched = False
        event = VolumeEvent.ROLLBACK_UNDONE if untouched else VolumeEvent.ROLLBACK_FAILED
        with self._database.transaction() as session:
            self._end(session, job, event)
            finish(session, job.id, failure)
        return failure

    def _end(self, session: Session, job: Job, event: VolumeEvent) -> None:
        [snapshot_id] = jobs.snapshots_of(job)
        snapshot, volume = (
            session.get_one(Snapshot, snapshot_id),
            session.get_one(Volume, _volume_of(job)),
        )
        advance(session, snapshot, SNAPSHOT_STATES, SnapshotEvent.ROLLBACK_ENDED)
        advance(session, volume, VOLUME_STATES, event, updated_at=utcnow())


def _volume_of(job: Job) -> str:
    return str(job.entities["volume_id"])
