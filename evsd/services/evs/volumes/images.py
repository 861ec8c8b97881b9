"""Volumes of images: what is asked of whoever has images, and copying one into a new volume."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from sqlalchemy.orm import Session

from evsd.connector import ConnectorError
from evsd.images import ImageError, copy_export
from evsd.jobs.kinds import Work
from evsd.services.evs.volumes.own_use import OwnUse
from evsd.services.evs.volumes.preallocation import FillFailed
from nbd_plugin import luks2


class Images(Protocol):
    """Whoever has images."""

    def require(self, session: Session, project_id: str, image_id: str, size_gib: int) -> str:
        """The id of an image's CMK; refuses one that no volume of so many GiB can be made of."""

    def clone(self, image_id: str, header: luks2.Header) -> None:
        """Make a volume's file, whole, which reads as the image; raises `PoolError`."""

    def serve(self, image_id: str) -> AbstractContextManager[Path]:
        """Its disk, to be read on the socket this gives until the block ends."""

    def disks(self, session: Session) -> set[str]:
        """The ids of all that they have in the pool."""


class OfferedImages:
    """The images of this evsd, from when the service that has them is there."""

    known: Images

    def offer(self, images: Images) -> None:
        """Have volumes made of these."""
        self.known = images


def copy_image(
    own_use: OwnUse, images: OfferedImages, image_id: str, volume_id: str, work: Work
) -> None:
    """Copy an image into a volume that reads as zeros, through both their servers.

    Raises `Stopped`, `Cancelled`, `FillFailed`, and what serving either can be refused with.
    """
    with images.known.serve(image_id) as source, own_use.serve(volume_id) as target:
        try:
            copy_export(source, target, lambda percent: work.progress(percent, 100))
        except (ConnectorError, ImageError, OSError) as error:
            raise FillFailed(str(error)) from error
