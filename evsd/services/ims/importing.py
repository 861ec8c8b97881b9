"""Making an image of a file that was uploaded: whole, or refused.

The file lies in a disk of its own, the upload; what it is its own marks say, which must be what the
image's `disk_format` says.
"""

from __future__ import annotations

from typing import ClassVar, NoReturn

from sqlalchemy.orm import Session

from evsd import images
from evsd.images import FormatAmbiguous, ImageError
from evsd.images import Image as ImageBytes
from evsd.jobs.kinds import Work
from evsd.jobs.tables import Job
from evsd.services.ims.errors import ImageDataInvalid, ImageUndone
from evsd.services.ims.limits import GIB, MAX_DISK_GIB
from evsd.services.ims.making import Making, image_of
from evsd.services.ims.states import IMAGE_STATES, ImageEvent
from evsd.services.ims.tables import Image
from evsd.store.database import utcnow
from evsd.store.transitions import advance

UPLOAD, LENGTH, CHECKSUM = "upload", "length", "checksum"  # among a job's arguments
RAW = "raw"
FORMATS = ("raw", "qcow2", "vmdk", "vhd", "vhdx", "vdi", "qed")


class Importing(Making):
    """The job: raises `ImageDataInvalid` for what is no image, or not all of one."""

    name: ClassVar = "imsImportImageJob"

    def run(self, job: Job, work: Work) -> None:
        """Look at the upload, all of it, then copy the disk in it."""
        with self._database.reading() as session:
            image = session.get_one(Image, image_of(job))
            arguments = session.get_one(Job, job.id).arguments
        upload, length = arguments[UPLOAD], arguments[LENGTH]
        with (
            self._disks.serve(image.id, upload, read_only=True) as socket,
            images.served_image(image.name, socket, length) as file,
        ):
            image_format = _format(file, image.disk_format)
            size = self._copy(file, image_format, image, work)
        with self._database.transaction() as session:
            record = session.get_one(Image, image.id)
            record.disk_format, record.virtual_size = image_format, size
        self._disks.pool.settle(image.id)
        self._disks.delete(upload)

    def resume(self, job: Job, work: Work) -> None:
        """An upload that is whole is gone on with, any other is forgotten."""
        image_id, upload = image_of(job), job.arguments[UPLOAD]
        if self._disks.is_whole(image_id):
            self._disks.delete(upload)
        elif self._disks.is_whole(upload):
            self.run(job, work)
        else:
            raise ImageUndone(name=job.entities["image_name"])

    def become(self, image: Image, job: Job) -> None:
        """It has the length and the hash of the file that came."""
        arguments = job.arguments
        image.size, image.checksum = arguments[LENGTH], arguments[CHECKSUM]

    def done(self, session: Session, job: Job) -> None:
        """As of all; by the record, which has learned of the file after the job began."""
        super().done(session, session.get_one(Job, job.id))

    def other_disks(self, job: Job) -> list[str]:
        """The upload."""
        return [job.arguments[UPLOAD]]

    def take_back(self, session: Session, job: Job) -> None:
        """It waits for a file again."""
        image = session.get_one(Image, image_of(job))
        advance(session, image, IMAGE_STATES, ImageEvent.UPLOAD_UNDONE, updated_at=utcnow())

    def _copy(self, file: ImageBytes, image_format: str, image: Image, work: Work) -> int:
        """The size of the disk in the file, which is in the image's own then."""
        source = images.inspect(
            file,
            image_format,
            lambda percent: work.progress(percent, 200),
            passphrase=_no_passphrase,
            guessed=True,
        )
        for damage in source.findings.damage:
            raise ImageDataInvalid(reason=f"{file.path} {damage.what}", remedy=damage.remedy)
        if source.size > MAX_DISK_GIB * GIB:
            raise ImageDataInvalid(
                reason=f"{file.path} holds a disk of {source.size:,} bytes",
                remedy=f"a volume has {MAX_DISK_GIB} GiB at most: make it smaller first",
            )
        self._disks.create_own(image, source.size)
        with self._disks.serve(image.id) as target:
            uri = images.uri_of(target)
            source.copy_to(uri, lambda percent: work.progress(100 + percent, 200), salvage=False)
        return source.size


def _format(file: ImageBytes, wanted: str | None) -> str:
    """What the file is; refuses one that is something else than it is said to be."""
    try:
        found = images.detect_format(file)
    except FormatAmbiguous as error:
        if wanted in ("raw", "vhd"):
            return wanted
        raise ImageDataInvalid(
            reason=error, remedy="say which: disk_format raw or vhd, evsctl's --format"
        ) from error
    except ImageError:
        if wanted == RAW:  # whoever says so wants its bytes as they are
            return RAW
        raise
    if found not in FORMATS:
        raise ImageDataInvalid(
            reason=f"{file.path} is {found}, and no image is made of that",
            remedy=f"make one of {', '.join(FORMATS)} of it first",
        )
    if wanted not in (None, found):
        raise ImageDataInvalid(
            reason=f"{file.path} is {found}, its disk_format says {wanted}",
            remedy=f"say disk_format {found}",
        )
    return found


def _no_passphrase() -> NoReturn:
    raise AssertionError("no format with a passphrase is imported")
