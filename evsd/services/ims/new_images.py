"""Beginning to make images: what is refused, the data key, and the record."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from evsd.jobs.service import Jobs
from evsd.jobs.tables import Job
from evsd.key_channel.call import Call
from evsd.key_channel.codec import encode
from evsd.services.evs.tables import Volume
from evsd.services.evs.volumes import records as volume_records
from evsd.services.evs.volumes.lending import lend
from evsd.services.ims.copies import SOURCE, InRegion, OfVolume
from evsd.services.ims.errors import (
    ImageKeyNotEnabled,
    ImageKeyNotFound,
    ImageKeySame,
    ImageNameTaken,
    ImageVolumeUnusable,
    MinDiskTooSmall,
    SourceKeyNotEnabled,
    SourceKeyNotFound,
)
from evsd.services.ims.keys import ImageKeys
from evsd.services.ims.limits import GIB
from evsd.services.ims.making import about
from evsd.services.ims.records import add_record, find_active
from evsd.services.ims.states import ImageStatus
from evsd.services.ims.tables import Image
from evsd.services.kms.operations import ServiceKey
from evsd.store.database import Database, utcnow


@dataclass(frozen=True, slots=True)
class NewImage:
    """What a caller asks for, already checked for form."""

    name: str | None
    description: str = ""
    cmk_id: str | None = None  # None for the project's default key, or that of the source
    disk_format: str | None = None
    container_format: str | None = None
    min_disk: int = 0
    min_ram: int = 0
    protected: bool = False
    properties: dict[str, str] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)


class NewImages:
    """Images that are asked for, of all projects."""

    def __init__(self, database: Database, keys: ImageKeys, jobs: Jobs) -> None:
        self._database, self._keys, self._jobs = database, keys, jobs

    def queue(self, call: Call, wanted: NewImage) -> Image:
        """An image that waits for its data.

        Raises `ImageNameTaken`, and what the KMS refuses the key with.
        """
        with self._database.reading() as session:
            _require_name(session, call.project_id, wanted.name)
        image_id = str(uuid.uuid4())
        key = self._keys.create(call, wanted.cmk_id, image_id)
        image = _record(call, wanted, image_id, key, ImageStatus.QUEUED)
        with self._database.transaction() as session:
            add_record(session, image)
        return image

    def of_volume(self, call: Call, wanted: NewImage, volume_id: str) -> Job:
        """Begin to make an image of a volume; it has the volume's key.

        Raises `ImageVolumeUnusable` unless the volume is available, `MinDiskTooSmall`, and as
        `queue` does.
        """
        with self._database.reading() as session:
            _require_name(session, call.project_id, wanted.name)
            volume = volume_records.find(session, call.project_id, volume_id)
        needed = volume.size_gib
        if wanted.min_disk and wanted.min_disk < needed:
            raise MinDiskTooSmall(name=wanted.name, value=wanted.min_disk, needed=needed)
        image_id = str(uuid.uuid4())
        key = self._source_key(call, volume.cmk_id, image_id)
        image = _record(call, wanted, image_id, key, ImageStatus.SAVING)
        image.origin, image.disk_format = f"volume,{volume.id}", "raw"
        image.virtual_size = image.size = volume.size_gib * GIB
        with self._database.transaction() as session:
            volume = volume_records.find(session, call.project_id, volume_id)
            _lend(session, volume, needed)
            return self._begin(session, OfVolume.name, image, volume_id)

    def copy(self, call: Call, wanted: NewImage, image_id: str) -> Job:
        """Begin to copy an image, under another key or its own.

        Raises `ImageUnavailable`, `ImageKeySame` where its own is named, and as `queue` does.
        """
        with self._database.reading() as session:
            source = find_active(session, call.project_id, image_id)
            _require_name(session, call.project_id, wanted.name)
        if wanted.cmk_id == source.cmk_id:
            raise ImageKeySame(name=source.name, value=wanted.cmk_id)
        new_id = str(uuid.uuid4())
        if wanted.cmk_id is None:
            key = self._source_key(call, source.cmk_id, new_id)
        else:
            key = self._keys.create(call, wanted.cmk_id, new_id)
        image = _record(call, wanted, new_id, key, ImageStatus.SAVING)
        for name in ("disk_format", "size", "virtual_size", "checksum", "min_disk", "min_ram"):
            setattr(image, name, getattr(source, name))
        image.origin, image.properties = f"image,{source.id}", dict(source.properties)
        with self._database.transaction() as session:
            find_active(session, call.project_id, image_id)  # it may have gone meanwhile
            return self._begin(session, InRegion.name, image, image_id)

    def start(self, job: Job) -> Job:
        """Do what was begun."""
        return self._jobs.start(job)

    def _begin(self, session: Session, kind: str, image: Image, source_id: str) -> Job:
        add_record(session, image)
        arguments = {SOURCE: source_id}
        return self._jobs.begin(session, kind, image.project_id, about(image), **arguments)

    def _source_key(self, call: Call, cmk_id: str, disk_id: str) -> ServiceKey:
        try:
            return self._keys.create(call, cmk_id, disk_id)
        except ImageKeyNotEnabled as error:
            raise SourceKeyNotEnabled(reason=error.text) from error
        except ImageKeyNotFound as error:
            raise SourceKeyNotFound(reason=error.text) from error


def _lend(session: Session, volume: Volume, size_gib: int) -> None:
    if volume.size_gib != size_gib or not lend(session, volume):  # or it was extended meanwhile
        raise ImageVolumeUnusable(name=volume.name, status=volume.status)


def _require_name(session: Session, project_id: str, name: str | None) -> None:
    """Refuse a name that is taken, before a data key is made for nothing."""
    taken = select(Image.id).where(Image.project_id == project_id, Image.name == name)
    if session.scalars(taken).first() is not None:
        raise ImageNameTaken(name=name)


def _record(
    call: Call, wanted: NewImage, image_id: str, key: ServiceKey, status: ImageStatus
) -> Image:
    now = utcnow()
    return Image(
        id=image_id,
        project_id=call.project_id,
        name=wanted.name or f"image-{image_id[:8]}",
        description=wanted.description,
        status=status,
        cmk_id=key.cmk_id,
        data_key=encode(ServiceKey, key),
        origin="file",
        disk_format=wanted.disk_format,
        container_format=wanted.container_format or "bare",
        min_disk=wanted.min_disk,
        min_ram=wanted.min_ram,
        protected=wanted.protected,
        properties=wanted.properties,
        tags=wanted.tags,
        user_name=call.principal,
        user_id=call.user_id,
        created_at=now,
        updated_at=now,
    )
