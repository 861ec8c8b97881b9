"""Taking in a file, in pieces, into a disk of its own; `importing` makes an image of it then."""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from evsd.connector.writing import Writer
from evsd.errors import PublishedError, StorageFull
from evsd.jobs.kinds import Stopped, Work
from evsd.jobs.service import Jobs
from evsd.jobs.tables import Job
from evsd.key_channel.call import Call
from evsd.pools.file import translated
from evsd.services.ims.disks import ImageDisks
from evsd.services.ims.errors import ImageBusy, ImageDataCut, ImageInterrupted
from evsd.services.ims.failures import FAILURES
from evsd.services.ims.importing import CHECKSUM, LENGTH, UPLOAD, Importing
from evsd.services.ims.keys import ImageKeys
from evsd.services.ims.limits import UPLOAD_LIMIT
from evsd.services.ims.making import about
from evsd.services.ims.records import find
from evsd.services.ims.states import IMAGE_STATES, ImageEvent
from evsd.services.ims.tables import Image
from evsd.space import look
from evsd.store.database import Database, utcnow
from evsd.store.transitions import advance

SECTOR = 512
BEGINS = "it gets its data once, when it is queued"


@dataclass(frozen=True, slots=True)
class Parts:
    """What uploads work with."""

    database: Database
    disks: ImageDisks
    jobs: Jobs
    importing: Importing


class Uploads:
    """Files that are being sent."""

    def __init__(self, parts: Parts, keys: ImageKeys) -> None:
        self._parts, self._keys = parts, keys

    def begin(self, call: Call, image_id: str, length: int | None) -> Upload:
        """Take a file for an image that has none; `length` in bytes, where it is known.

        Raises `ImageNotFound`, `ImageBusy`, `ImageDataCut` for one that is empty or too long, and
        what the key or the pool refuses.
        """
        parts, upload_id = self._parts, str(uuid.uuid4())
        with parts.database.reading() as session:
            image = find(session, call.project_id, image_id)
        if length is not None and not 0 < length <= UPLOAD_LIMIT:
            reason = f"a file has 1 to {UPLOAD_LIMIT:,} bytes, not {length:,}"
            raise ImageDataCut(name=image.name, reason=reason)
        _require_space(image.name, parts.disks.pool.place, length or 0)
        key = self._keys.create(call, image.cmk_id, upload_id)
        with parts.database.transaction() as session:
            image = find(session, call.project_id, image_id)
            status = image.status
            if not advance(session, image, IMAGE_STATES, ImageEvent.UPLOAD, updated_at=utcnow()):
                raise ImageBusy(name=image.name, status=status, reason=BEGINS)
            job = parts.jobs.begin(
                session, Importing.name, call.project_id, about(image), **{UPLOAD: upload_id}
            )
        upload = Upload(parts, image, job, length)
        with upload.undone_on_failure():
            parts.disks.create(image, upload_id, key, length or UPLOAD_LIMIT)
            upload.open()
        return upload


class Upload:
    """One file that is being sent."""

    def __init__(self, parts: Parts, image: Image, job: Job, length: int | None) -> None:
        self._parts, self._image, self._job, self._expected = parts, image, job, length
        self._disk_id: str = job.arguments[UPLOAD]
        self._length, self._digest = 0, hashlib.md5(usedforsecurity=False)
        self._stack = ExitStack()
        self._ended = False

    def open(self) -> None:
        """Begin to write."""
        socket = self._stack.enter_context(self._parts.disks.serve(self._image.id, self._disk_id))
        self._writer = Writer(socket)

    @property
    def name(self) -> str:
        """The image's."""
        return self._image.name

    def write(self, piece: bytes) -> None:
        """Take the next piece; raises what the pool refuses."""
        with self.undone_on_failure():
            if self._length + len(piece) > (self._expected or UPLOAD_LIMIT):
                raise self._cut(f"more than {self._length:,} bytes came")
            try:
                self._writer.write(self._length, _in_sectors(piece))
            except OSError as error:
                raise translated(error) from error
            self._digest.update(piece)
            self._length += len(piece)

    def finish(self) -> None:
        """All is there: make the image of it. Raises `ImageDataCut`, and what `Importing` does."""
        with self.undone_on_failure():
            if self._length == 0 or self._expected not in (None, self._length):
                raise self._cut(f"{self._length:,} bytes came")
            self._writer.finish()
            self._stack.close()
            with self._parts.database.transaction() as session:
                job = session.get_one(Job, self._job.id)
                found = {LENGTH: self._length, CHECKSUM: self._digest.hexdigest()}
                job.arguments = {**job.arguments, **found}
            self._parts.disks.pool.settle(self._disk_id)
        try:
            self._parts.jobs.do(self._job)
        except Stopped as stopped:
            raise ImageInterrupted(name=self._image.name) from stopped

    def abandon(self, error: PublishedError) -> None:
        """It does not come: the image waits for another. Nothing happens where that is known."""
        if not self._ended:
            self._undo(error)

    @contextmanager
    def undone_on_failure(self) -> Iterator[None]:
        """What goes wrong in the block is raised as it is published, and nothing is left."""
        try:
            yield
        except FAILURES as error:
            raise self._undo(error) from error

    def _undo(self, error: Exception) -> PublishedError:
        self._ended = True
        # A server that can't be ended is told of where its file is removed.
        with suppress(*FAILURES):
            self._stack.close()
        return self._parts.importing.undo(self._job, error, Work(threading.Event()))

    def _cut(self, what: str) -> ImageDataCut:
        whole = "" if self._expected is None else f" of {self._expected:,}"
        return ImageDataCut(name=self._image.name, reason=f"{what}{whole}")


def _require_space(name: str, pool: Path, length: int) -> None:
    """Refuse what can't be taken in, before others' writes fail in a pool that it has filled."""
    free = look(pool).free
    if length > free:
        reason = f"{length:,} bytes are to come, {free:,} are free"
        raise StorageFull(what=f"image {name}: the pool", path=pool, reason=reason)


def _in_sectors(piece: bytes) -> bytes:
    """The last piece ends where the file does, an export with a sector."""
    return piece.ljust(-(-len(piece) // SECTOR) * SECTOR, b"\0")
