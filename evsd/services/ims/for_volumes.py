"""What EVS asks of images: see `evs.volumes.images`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from evsd.jobs.service import RUNNING
from evsd.jobs.tables import Job
from evsd.services.evs.errors import ImageTooLarge
from evsd.services.ims.disks import ImageDisks
from evsd.services.ims.importing import UPLOAD, Importing
from evsd.services.ims.records import find_active
from evsd.services.ims.tables import Image
from nbd_plugin import luks2


class ForVolumes:
    """Volumes can be made of all images that are active."""

    def __init__(self, disks: ImageDisks) -> None:
        self._disks = disks

    def require(self, session: Session, project_id: str, image_id: str, size_gib: int) -> str:
        """The id of an image's CMK.

        Raises `ImageNotFound`, `ImageUnavailable`, `ImageTooLarge` for a volume of too few GiB.
        """
        image = find_active(session, project_id, image_id)
        if size_gib < image.min_disk:
            raise ImageTooLarge(name=image.name, needed=image.min_disk, value=size_gib)
        return image.cmk_id

    def clone(self, image_id: str, header: luks2.Header) -> None:
        """Make a volume's file, which reads as the image; raises `PoolError`."""
        self._disks.clone(image_id, header)

    def serve(self, image_id: str) -> AbstractContextManager[Path]:
        """Its disk, to be read on the socket this gives."""
        return self._disks.serve(image_id, read_only=True)

    def disks(self, session: Session) -> set[str]:
        """The ids of all disks of images, and of uploads under way."""
        uploads = select(Job).where(Job.type == Importing.name, Job.status == RUNNING)
        under_way = {job.arguments.get(UPLOAD, "") for job in session.scalars(uploads)}
        return {*session.scalars(select(Image.id)), *under_way}
