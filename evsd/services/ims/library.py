"""The life of images that are there: showing, listing, changing and deleting them."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.orm import Session

from evsd.jobs.service import RUNNING, Jobs
from evsd.jobs.tables import Job
from evsd.services.evs.volumes import job_types
from evsd.services.ims.copies import SOURCE, InRegion
from evsd.services.ims.deletion import Deletion
from evsd.services.ims.errors import (
    ImageBusy,
    ImageInUse,
    ImageJobNotFound,
    ImageProtected,
)
from evsd.services.ims.making import about
from evsd.services.ims.records import find, renamed
from evsd.services.ims.states import IMAGE_STATES, ImageEvent, ImageStatus
from evsd.services.ims.tables import Image
from evsd.store.database import Database, utcnow
from evsd.store.transitions import advance


class Library:
    """The images of all projects."""

    def __init__(self, database: Database, jobs: Jobs) -> None:
        self._database, self._jobs = database, jobs

    def show(self, project_id: str, image_id: str) -> Image:
        """One image; raises `ImageNotFound`, for a foreign project's too."""
        with self._database.reading() as session:
            return find(session, project_id, image_id)

    def all_of(self, project_id: str) -> list[Image]:
        """All that a project has."""
        query = select(Image).where(Image.project_id == project_id)
        with self._database.reading() as session:
            return list(session.scalars(query))

    def active(self) -> list[Image]:
        """All that are active, of all projects."""
        with self._database.reading() as session:
            return list(session.scalars(select(Image).where(Image.status == ImageStatus.ACTIVE)))

    def change(self, project_id: str, image_id: str, change: Callable[[Image], None]) -> Image:
        """Have `change` change the record, never its disk or its key; raises `ImageNameTaken`."""
        with self._database.transaction() as session:
            image = find(session, project_id, image_id)
            change(image)
            image.updated_at = utcnow()
            renamed(session, image)
        return image

    def delete(self, project_id: str, image_id: str) -> Job:
        """Destroy an image and the wrapped key with it; what was made of it stays.

        Raises `ImageProtected`, `ImageBusy`, `ImageInUse` while it is copied, and what the job
        does.
        """
        with self._database.transaction() as session:
            image = find(session, project_id, image_id)
            if image.protected:
                raise ImageProtected(name=image.name)
            _require_unused(session, image)
            status = image.status
            if not advance(session, image, IMAGE_STATES, ImageEvent.DELETE, updated_at=utcnow()):
                raise ImageBusy(name=image.name, status=status, reason="it can't be deleted now")
            job = self._jobs.begin(session, Deletion.name, project_id, about(image))
        return self._jobs.start(job)

    def job(self, project_id: str, job_id: str) -> Job:
        """One job; raises `ImageJobNotFound`."""
        with self._database.reading() as session:
            job = session.get(Job, job_id)
        if job is None or job.project_id != project_id or "image_id" not in job.entities:
            raise ImageJobNotFound(job_id=job_id)
        return job


def _require_unused(session: Session, image: Image) -> None:
    """Refuse while a volume or an image is made of it: its file is read."""
    query = select(Job).where(
        Job.project_id == image.project_id,
        Job.status == RUNNING,
        Job.type.in_((job_types.CREATE, InRegion.name)),
    )
    for job in session.scalars(query):
        if image.id in (job.arguments.get(job_types.IMAGE), job.arguments.get(SOURCE)):
            name = job.entities.get("name") or job.entities.get("image_name")
            raise ImageInUse(name=image.name, copies=name)
