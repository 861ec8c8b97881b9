"""Several volumes by one request: their names, and the job that makes them one after the other.

Names, quota and keys are checked for all of them before any is made. Then each volume is a job by
itself, as published: where one fails nothing is left of that one, and the others are there.
"""

from __future__ import annotations

from typing import ClassVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from evsd.errors import PublishedError
from evsd.jobs.kinds import JobKind, Work
from evsd.jobs.service import FAIL, Jobs, finish
from evsd.jobs.tables import Job
from evsd.services.evs.errors import VolumeNameInvalid, VolumesNotCreated
from evsd.services.evs.volumes import job_types
from evsd.store.database import Database

BATCH_NAME_LENGTH = 250  # `-0001` comes behind it


def names_of(name: str, count: int) -> list[str]:
    """The names of so many volumes: `name-0001` and so on, where it is more than one."""
    if count == 1:
        return [name]
    if len(name) > BATCH_NAME_LENGTH:
        raise VolumeNameInvalid(
            value=f"{name[:61]}...", reason=f"of several volumes it has {BATCH_NAME_LENGTH} at most"
        )
    return [f"{name}-{number:04}" for number in range(1, count + 1)]


class BatchCreation(JobKind):
    """The job: raises `VolumesNotCreated`. Its parts are jobs, begun in one transaction with it."""

    name = job_types.BATCH_CREATE
    failures: ClassVar = (VolumesNotCreated,)

    def __init__(self, database: Database, jobs: Jobs) -> None:
        self._database, self._jobs = database, jobs

    def lasts(self, job: Job, *, resumed: bool) -> bool:  # noqa: ARG002
        """Nobody waits for so many; after a restart its parts have ended before it is asked."""
        return not resumed

    def run(self, job: Job, work: Work) -> None:
        """Make one after the other, whatever becomes of the others."""
        parts = self._parts(job)
        for number, part in enumerate(parts):
            work.progress(number, len(parts))
            try:
                self._jobs.do(part)
            except PublishedError:
                continue  # its record says why
        self.resume(job, work)

    def resume(self, job: Job, work: Work) -> None:  # noqa: ARG002
        """Look at what has become of its parts."""
        parts = self._parts(job)
        failed = [part for part in parts if part.status == FAIL]
        if failed:
            raise VolumesNotCreated(
                failed=len(failed), whole=len(parts), reason=failed[0].fail_reason
            )

    def done(self, session: Session, job: Job) -> None:
        """Each part has noted what it has done."""

    def undo(self, job: Job, error: Exception, work: Work) -> PublishedError:  # noqa: ARG002
        """Each part that failed has undone itself."""
        assert isinstance(error, VolumesNotCreated)  # noqa: S101 - it has no other failures
        with self._database.transaction() as session:
            finish(session, job.id, error)
        return error

    def _parts(self, job: Job) -> list[Job]:
        with self._database.reading() as session:
            return parts_of(session, job)


def parts_of(session: Session, job: Job) -> list[Job]:
    """The jobs that a job consists of, in their order; none where it is about one volume."""
    ids: list[str] = job.entities.get(job_types.PARTS, [])
    found = {part.id: part for part in session.scalars(select(Job).where(Job.id.in_(ids)))}
    return [found[part_id] for part_id in ids]
