"""What all jobs that make an image's disk share: how they end, and how they are taken back.

How far one came the disk says: it is settled when it is whole.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import structlog
from sqlalchemy.orm import Session

from evsd.errors import PublishedError
from evsd.images import copy_export
from evsd.jobs.kinds import JobKind, Stopped, Work
from evsd.jobs.service import finish
from evsd.jobs.tables import Job
from evsd.pools.pool import PoolError
from evsd.services.ims.disks import ImageDisks
from evsd.services.ims.failures import FAILURES, published
from evsd.services.ims.limits import GIB
from evsd.services.ims.records import forget
from evsd.services.ims.states import IMAGE_STATES, ImageEvent
from evsd.services.ims.tables import Image
from evsd.serving.failures import ServerFailed
from evsd.store.database import Database, utcnow
from evsd.store.transitions import advance

log = structlog.get_logger()


def about(image: Image) -> dict[str, Any]:
    """What a job shows of the image that it is about."""
    return {"image_id": image.id, "image_name": image.name}


def image_of(job: Job) -> str:
    """Which image a job is about."""
    return str(job.entities["image_id"])


class Making(JobKind):
    """A job at whose end an image is active, or none is there."""

    failures: ClassVar = FAILURES

    def __init__(self, database: Database, disks: ImageDisks) -> None:
        self._database, self._disks = database, disks

    def lasts(self, job: Job, *, resumed: bool) -> bool:  # noqa: ARG002
        """All that is in a disk is copied."""
        return True

    def done(self, session: Session, job: Job) -> None:
        """The image is active, and read only from now on."""
        image, now = session.get_one(Image, image_of(job)), utcnow()
        self.become(image, job)
        needed = -(-(image.virtual_size or 0) // GIB)
        image.min_disk = max(image.min_disk, needed)
        advance(session, image, IMAGE_STATES, ImageEvent.SAVED, updated_at=now, active_at=now)

    def undo(self, job: Job, error: Exception, work: Work) -> PublishedError:
        """Leave nothing; where a file can't be removed, an image that is killed.

        What fails while evsd stops, and its servers get no keys any more, is resumed.
        """
        if work.stopping:
            raise Stopped from error
        image_id = image_of(job)
        failure = published(str(job.entities["image_name"]), error, self._disks.pool.place)
        stuck = self._remove([image_id, *self.other_disks(job)])
        with self._database.transaction() as session:
            if stuck:
                image = session.get_one(Image, image_id)
                advance(session, image, IMAGE_STATES, ImageEvent.SAVE_FAILED, updated_at=utcnow())
            else:
                self.take_back(session, job)
            self.let_go(session, job)
            finish(session, job.id, failure)
        return failure

    def become(self, image: Image, job: Job) -> None:
        """Say in the record what the image has become."""

    def other_disks(self, job: Job) -> list[str]:  # noqa: ARG002
        """What else it has in the pool."""
        return []

    def take_back(self, session: Session, job: Job) -> None:
        """The image, whose disk is gone, is what it was before."""
        forget(session, image_of(job))

    def let_go(self, session: Session, job: Job) -> None:
        """What it was made of is nobody's concern any more, however the job ended."""

    def _remove(self, disk_ids: list[str]) -> bool:
        """Whether one could not be."""
        stuck = False
        for disk_id in disk_ids:
            try:
                self._disks.delete(disk_id)
            except (PoolError, ServerFailed) as error:
                log.error("not deleted", disk=disk_id, reason=str(error))
                stuck = True
        return stuck


class Copying(Making):
    """A job that copies another disk, as it is; it begins anew after an interruption."""

    def run(self, job: Job, work: Work) -> None:
        """Copy it, through both servers."""
        with self._database.reading() as session:
            image = session.get_one(Image, image_of(job))
        self._disks.create_own(image, image.virtual_size or 0)
        with self.source(job) as source, self._disks.serve(image.id) as target:
            copy_export(source, target, lambda percent: work.progress(percent, 100))
        self._disks.pool.settle(image.id)

    def resume(self, job: Job, work: Work) -> None:
        """A disk that is whole is not copied again."""
        if not self._disks.is_whole(image_of(job)):
            self.run(job, work)

    def done(self, session: Session, job: Job) -> None:
        """The image is active, and its source is let go."""
        super().done(session, job)
        self.let_go(session, job)

    @abstractmethod
    def source(self, job: Job) -> Any:
        """What is copied: a context manager of the socket that serves it."""
