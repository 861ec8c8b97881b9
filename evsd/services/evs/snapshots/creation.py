"""Taking snapshots: the record is there before the layer; where that fails, neither is left.

After an interruption the files say whether it had begun: then it is finished, else there is none.
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
from evsd.services.evs.snapshots import jobs
from evsd.services.evs.snapshots.failures import FAILURES, Interrupted, published
from evsd.services.evs.snapshots.records import forget
from evsd.services.evs.snapshots.states import SNAPSHOT_STATES, SnapshotEvent
from evsd.services.evs.tables import Snapshot, SnapshotGroup
from evsd.serving.failures import ServerFailed
from evsd.serving.snapshots import Deferred, DiskSnapshots
from evsd.store.database import Database, utcnow
from evsd.store.transitions import advance

log = structlog.get_logger()


class SnapshotCreation(JobKind):
    """The job, for one snapshot or for several at one moment.

    Raises `SnapshotNotTaken`, and what a full pool refuses.
    """

    name = jobs.CREATE
    failures: ClassVar = FAILURES

    def __init__(self, database: Database, pool: Pool, disks: DiskSnapshots) -> None:
        self._database, self._pool, self._disks = database, pool, disks

    def lasts(self, job: Job, *, resumed: bool) -> bool:  # noqa: ARG002
        """What clients of an attached volume have written comes to the disk first."""
        return bool(job.arguments.get("served"))

    def run(self, job: Job, work: Work) -> None:  # noqa: ARG002
        """Freeze the layers."""
        self._disks.take(self._volumes(job))

    def resume(self, job: Job, work: Work) -> None:
        """Go on if any of them is frozen."""
        if not any(map(self._disks.has_begun, jobs.snapshots_of(job))):
            raise Interrupted
        self.run(job, work)

    def done(self, session: Session, job: Job) -> None:
        """They are available."""
        for snapshot_id in jobs.snapshots_of(job):
            snapshot = session.get_one(Snapshot, snapshot_id)
            advance(session, snapshot, SNAPSHOT_STATES, SnapshotEvent.CREATED, updated_at=utcnow())

    def undo(self, job: Job, error: Exception, work: Work) -> PublishedError:  # noqa: ARG002
        """Leave nothing; where that can't be done, snapshots in error."""
        volumes = self._volumes(job)
        removed = [one for volume, one in volumes.items() if self._is_removed(volume, one)]
        with self._database.transaction() as session:
            records = [session.get_one(Snapshot, each) for each in volumes.values()]
            failure = published(str(job.entities["name"]), error, self._pool.place)
            for record in records:
                if record.id in removed:
                    forget(session, record.id)
                else:
                    advance(session, record, SNAPSHOT_STATES, SnapshotEvent.CREATE_FAILED)
            _forget_empty_group(session, job, left=len(removed) < len(records))
            finish(session, job.id, failure)
        return failure

    def _volumes(self, job: Job) -> dict[str, str]:
        """The snapshot's id by each volume's."""
        with self._database.reading() as session:
            records = [session.get_one(Snapshot, each) for each in jobs.snapshots_of(job)]
        return {record.volume_id: record.id for record in records}

    def _is_removed(self, volume_id: str, snapshot_id: str) -> bool:
        try:
            self._disks.remove(volume_id, snapshot_id)
        except Deferred:
            return True
        except (PoolError, ServerFailed) as stuck:
            log.error("it can't be undone", snapshot=snapshot_id, reason=str(stuck))
            return False
        return True


class SnapshotGroupCreation(SnapshotCreation):
    """The same for a group."""

    name = jobs.CREATE_GROUP


def _forget_empty_group(session: Session, job: Job, *, left: bool) -> None:
    group = session.get(SnapshotGroup, job.entities.get(jobs.GROUP))
    if group is not None and not left:
        session.flush()
        session.delete(group)
