"""Images of volumes, and of other images."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import ClassVar

from sqlalchemy.orm import Session

from evsd.jobs.tables import Job
from evsd.services.evs.volumes.lending import take_back
from evsd.services.evs.volumes.own_use import OwnUse
from evsd.services.ims.disks import ImageDisks
from evsd.services.ims.making import Copying
from evsd.store.database import Database

SOURCE = "source"  # the id of what is copied, among a job's arguments


class OfVolume(Copying):
    """The job that makes an image of a volume, which nobody uses meanwhile."""

    name: ClassVar = "imsVolumeCreateImageJob"

    def __init__(self, database: Database, disks: ImageDisks, volumes: OwnUse) -> None:
        super().__init__(database, disks)
        self._volumes = volumes

    def source(self, job: Job) -> AbstractContextManager[Path]:
        """The volume."""
        return self._volumes.serve(job.arguments[SOURCE], read_only=True)

    def let_go(self, session: Session, job: Job) -> None:
        """The volume is available again."""
        take_back(session, session.get_one(Job, job.id).arguments.get(SOURCE, ""))


class InRegion(Copying):
    """The job that copies an image, which nobody deletes meanwhile."""

    name: ClassVar = "imsCopyImageInRegionJob"

    def source(self, job: Job) -> AbstractContextManager[Path]:
        """The other image."""
        return self._disks.serve(job.arguments[SOURCE], read_only=True)
