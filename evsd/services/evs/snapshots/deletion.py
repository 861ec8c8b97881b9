"""Deleting snapshots: gone at once, in one step; what its layer holds is merged beside all else.

So a volume reads as before at every moment, attached or not, and no key is needed.
"""

from __future__ import annotations

from typing import ClassVar

from sqlalchemy.orm import Session

from evsd.errors import PublishedError
from evsd.jobs.kinds import JobKind, Work
from evsd.jobs.service import finish
from evsd.jobs.tables import Job
from evsd.pools.pool import Pool
from evsd.services.evs.snapshots import jobs
from evsd.services.evs.snapshots.failures import FAILURES, published
from evsd.services.evs.snapshots.records import forget
from evsd.services.evs.snapshots.states import SNAPSHOT_STATES, SnapshotEvent
from evsd.services.evs.snapshots.sweeper import Sweeper
from evsd.services.evs.tables import Snapshot
from evsd.serving.snapshots import DiskSnapshots
from evsd.store.database import Database
from evsd.store.transitions import advance


class SnapshotDeletion(JobKind):
    """The job: raises `SnapshotWorkFailed`, and what a full pool refuses."""

    name = jobs.DELETE
    failures: ClassVar = FAILURES

    def __init__(
        self, database: Database, pool: Pool, disks: DiskSnapshots, sweeper: Sweeper
    ) -> None:
        self._database, self._pool = database, pool
        self._disks, self._sweeper = disks, sweeper

    def run(self, job: Job, work: Work) -> None:  # noqa: ARG002
        """Hide its layer."""
        [snapshot_id] = jobs.snapshots_of(job)
        self._disks.hide(str(job.entities["volume_id"]), snapshot_id)
        self._sweeper.sweep()

    def done(self, session: Session, job: Job) -> None:
        """The snapshot is no more."""
        [snapshot_id] = jobs.snapshots_of(job)
        forget(session, snapshot_id)

    def undo(self, job: Job, error: Exception, work: Work) -> PublishedError:  # noqa: ARG002
        """The snapshot stays, in an error state from which it can be deleted again."""
        [snapshot_id] = jobs.snapshots_of(job)
        failure = published(str(job.entities["name"]), error, self._pool.place)
        with self._database.transaction() as session:
            snapshot = session.get_one(Snapshot, snapshot_id)
            advance(session, snapshot, SNAPSHOT_STATES, SnapshotEvent.DELETE_FAILED)
            finish(session, job.id, failure)
        return failure
