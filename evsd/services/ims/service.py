"""IMS: images, made of volumes and files, and volumes made of them."""

from __future__ import annotations

from collections.abc import Mapping

import structlog
from anyio import CapacityLimiter

from evsd.service import Host, Service
from evsd.services.evs.service import EvsService
from evsd.services.ims.copies import InRegion, OfVolume
from evsd.services.ims.deletion import Deletion
from evsd.services.ims.disks import ImageDisks
from evsd.services.ims.for_volumes import ForVolumes
from evsd.services.ims.importing import Importing
from evsd.services.ims.keys import ImageKeys
from evsd.services.ims.library import Library
from evsd.services.ims.new_images import NewImages
from evsd.services.ims.uploads import Parts, Uploads

UPLOADS = 8  # so many at once are taken in, and so many made images of: others wait

log = structlog.get_logger()


class ImsService(Service):
    """Its parts."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        keys = ImageKeys(host.keys)
        self._disks = ImageDisks(host.database, host.keys, host.pool, host.servers)
        self._importing = Importing(host.database, self._disks)
        self.new_images = NewImages(host.database, keys, host.jobs)
        self.library = Library(host.database, host.jobs)
        parts = Parts(host.database, self._disks, host.jobs, self._importing)
        self.uploads = Uploads(parts, keys)
        self.taking, self.making = CapacityLimiter(UPLOADS), CapacityLimiter(UPLOADS)

    def meet(self, services: Mapping[type[Service], Service]) -> None:
        """Offer images to the volume service, and have its volumes."""
        evs = services[EvsService]
        assert isinstance(evs, EvsService)  # noqa: S101 - it is what it is listed as
        evs.images.offer(ForVolumes(self._disks))
        database, disks = self.host.database, self._disks
        self._kinds = (
            self._importing,
            OfVolume(database, disks, evs.own_use),
            InRegion(database, disks),
            Deletion(database, disks),
        )
        self.host.jobs.add(*self._kinds)

    def start(self) -> None:
        """Go on with what was interrupted."""
        self.host.jobs.resume(*self._kinds)
        self._name_missing()

    def _name_missing(self) -> None:
        """Say which images have no file, as after the pool or the database was restored."""
        files, pool = self.host.pool.names(), self.host.pool
        for image in self.library.active():
            if pool.path(image.id).name not in files:
                log.error("the file of an image is missing", name=image.name, image=image.id)


def build(host: Host) -> ImsService:
    """Its part in evsd."""
    return ImsService(host)
