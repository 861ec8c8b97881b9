"""The records of images: finding one, entering and forgetting one with what hangs on its key."""

from __future__ import annotations

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from evsd.services.ims.consumer import CONSUMER
from evsd.services.ims.errors import ImageNameTaken, ImageNotFound, ImageUnavailable
from evsd.services.ims.states import ImageStatus
from evsd.services.ims.tables import Image
from evsd.services.kms.consumers import add_dependent, remove_dependent, rename_dependent


def find(session: Session, project_id: str, image_id: str) -> Image:
    """The image's record in this session; a foreign one looks like a missing one."""
    image = session.get(Image, image_id)
    if image is None or image.project_id != project_id:
        raise ImageNotFound(name=image_id)
    return image


def find_active(session: Session, project_id: str, image_id: str) -> Image:
    """The same of one that can be used; raises `ImageUnavailable` for any other."""
    image = find(session, project_id, image_id)
    if image.status != ImageStatus.ACTIVE:
        raise ImageUnavailable(name=image.name, status=image.status)
    return image


def add_record(session: Session, image: Image) -> None:
    """Enter a new image, with its key; raises `ImageNameTaken`."""
    session.add(image)
    _flush(session, image.name)
    kind, since = CONSUMER.kind, image.created_at
    add_dependent(session, kind, image.id, image.name, image.project_id, image.cmk_id, since)


def renamed(session: Session, image: Image) -> None:
    """Its name was changed; raises `ImageNameTaken`."""
    _flush(session, image.name)
    rename_dependent(session, CONSUMER.kind, image.id, image.name)


def _flush(session: Session, name: str) -> None:
    try:
        session.flush()
    except IntegrityError as error:
        raise ImageNameTaken(name=name) from error


def forget(session: Session, image_id: str) -> None:
    """The image is no more."""
    image = session.get(Image, image_id)
    if image is not None:
        session.delete(image)
        remove_dependent(session, CONSUMER.kind, image_id)
