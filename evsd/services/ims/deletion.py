"""Deleting images: the file goes first, then the record. Volumes made of one stay."""

from __future__ import annotations

from typing import ClassVar

from sqlalchemy.orm import Session

from evsd.errors import PublishedError
from evsd.jobs.kinds import JobKind, Work
from evsd.jobs.service import finish
from evsd.jobs.tables import Job
from evsd.pools.pool import PoolError
from evsd.services.ims.disks import ImageDisks
from evsd.services.ims.errors import ImageNotDeleted
from evsd.services.ims.failures import FAILURES, published
from evsd.services.ims.making import image_of
from evsd.services.ims.records import forget
from evsd.services.ims.states import IMAGE_STATES, ImageEvent
from evsd.services.ims.tables import Image
from evsd.store.database import Database, utcnow
from evsd.store.transitions import advance


class Deletion(JobKind):
    """The job: raises `ImageNotDeleted`, and what the pool refuses."""

    name: ClassVar = "imsDeleteImageJob"
    failures: ClassVar = FAILURES

    def __init__(self, database: Database, disks: ImageDisks) -> None:
        self._database, self._disks = database, disks

    def run(self, job: Job, work: Work) -> None:  # noqa: ARG002
        """Remove the file."""
        self._disks.delete(image_of(job))

    def done(self, session: Session, job: Job) -> None:
        """The image is no more."""
        forget(session, image_of(job))

    def undo(self, job: Job, error: Exception, work: Work) -> PublishedError:  # noqa: ARG002
        """The image stays: as it was, if its file did."""
        name, whole = str(job.entities["image_name"]), self._is_there(job)
        failure = published(name, error, self._disks.pool.place)
        if whole:
            failure = ImageNotDeleted(name=name, reason=error)
        event = ImageEvent.DELETION_UNDONE if whole else ImageEvent.DELETE_FAILED
        with self._database.transaction() as session:
            image = session.get_one(Image, image_of(job))
            advance(session, image, IMAGE_STATES, event, updated_at=utcnow())
            finish(session, job.id, failure)
        return failure

    def _is_there(self, job: Job) -> bool:
        try:
            return self._disks.is_whole(image_of(job))
        except PoolError:
            return True
