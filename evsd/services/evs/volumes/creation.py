"""Creating volumes: the record is there before the file; where that fails, neither is left.

A thick volume is filled, and does not exist before that has ended. After an interruption the file
says how far it came: one that is whole makes a volume, any other is removed with its record.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from sqlalchemy.orm import Session

from evsd.errors import PublishedError
from evsd.jobs.kinds import JobKind, Work
from evsd.jobs.service import finish
from evsd.jobs.tables import Job
from evsd.key_channel.call import Call
from evsd.key_channel.codec import decode, encode
from evsd.pools.pool import Pool, PoolError
from evsd.services.evs.key_context import encryption_context
from evsd.services.evs.limits import GIB
from evsd.services.evs.tables import Volume
from evsd.services.evs.volumes import job_types
from evsd.services.evs.volumes.deletion import Removal, forget, interrupted
from evsd.services.evs.volumes.failures import FAILURES, published
from evsd.services.evs.volumes.images import OfferedImages, copy_image
from evsd.services.evs.volumes.own_use import OwnUse
from evsd.services.evs.volumes.preallocation import preallocate
from evsd.services.evs.volumes.states import VOLUME_STATES, VolumeEvent, VolumeStatus
from evsd.services.kms.operations import ServiceKey
from evsd.serving.snapshots import DiskSnapshots
from evsd.store.database import Database, utcnow
from evsd.store.transitions import advance
from nbd_plugin import luks2


@dataclass(frozen=True, slots=True)
class NewVolume:
    """What a caller asks for, already checked for form; None is for what evsd chooses.

    Without `cmk_id` that is the project's default key.
    """

    name: str | None
    size_gib: int
    thick: bool = False
    description: str = ""
    volume_type: str = "SSD"
    availability_zone: str | None = None
    cmk_id: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    image_id: str | None = None
    snapshot_id: str | None = None
    source_id: str | None = None  # the volume of that snapshot


class FileUnreadable(Exception):
    """Nobody can tell what the file of an interrupted creation holds; `cause` says why."""

    def __init__(self, cause: PoolError) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Creation(JobKind):
    """The job: raises `PoolFailed`, what a full pool refuses, and what serving is refused with."""

    name = job_types.CREATE
    failures: ClassVar = (*FAILURES, FileUnreadable)

    def __init__(
        self,
        database: Database,
        pool: Pool,
        own_use: OwnUse,
        removal: Removal,
        images: OfferedImages,
        disks: DiskSnapshots,
    ) -> None:
        self._database, self._pool, self._images = database, pool, images
        self._disks = disks
        self._own_use, self._removal = own_use, removal

    def lasts(self, job: Job, *, resumed: bool) -> bool:
        """A thick volume is filled, if it isn't a clone; what is left is soon dealt with."""
        filled = job.arguments.get("thick") and job_types.SNAPSHOT not in job.arguments
        return bool(filled) and not resumed

    def run(self, job: Job, work: Work) -> None:
        """Make the file, and fill it."""
        with self._database.reading() as session:
            volume = session.get_one(Volume, job_types.volume_of(job))
        header = _header(volume, decode(ServiceKey, job.arguments["key"]))
        if self._is_clone(job, header):
            return
        self._pool.create(header)
        if not header.thin:
            preallocate(self._own_use, volume.id, 0, header.size, work)
            image_id = job.arguments.get(job_types.IMAGE)
            if image_id is not None:
                copy_image(self._own_use, self._images, image_id, volume.id, work)
            self._pool.settle(volume.id)

    def _is_clone(self, job: Job, header: luks2.Header) -> bool:
        """Make it one, at once: a volume of a snapshot is, and a thin one of an image."""
        source = job.arguments.get(job_types.SNAPSHOT)
        image_id = job.arguments.get(job_types.IMAGE)
        if source is not None:
            volume_id, snapshot_id = source
            self._disks.clone(volume_id, snapshot_id, header)
        elif image_id is not None and header.thin:
            self._images.known.clone(image_id, header)
        else:
            return False
        return True

    def resume(self, job: Job, work: Work) -> None:  # noqa: ARG002
        """Go by the file."""
        volume_id = job_types.volume_of(job)
        try:
            whole = self._pool.whole(volume_id)
        except PoolError as error:
            raise FileUnreadable(error) from error
        if whole is None:
            raise interrupted()
        with self._database.transaction() as session:  # the record may be from a backup
            session.get_one(Volume, volume_id).size_gib = whole.settled // GIB

    def done(self, session: Session, job: Job) -> None:
        """The volume is available."""
        volume = session.get_one(Volume, job_types.volume_of(job))
        advance(session, volume, VOLUME_STATES, VolumeEvent.CREATED, updated_at=utcnow())

    def undo(self, job: Job, error: Exception, work: Work) -> PublishedError:  # noqa: ARG002
        """Leave nothing; where that can't be done, a volume in error."""
        volume_id = job_types.volume_of(job)
        if isinstance(error, FileUnreadable):
            return self._removal.not_removed(job.id, volume_id, error.cause)
        try:
            self._removal.remove(volume_id)
        except (PoolError, PublishedError) as stuck:
            return self._removal.not_removed(job.id, volume_id, stuck)
        failure = published(str(job.entities["name"]), error, self._pool.place)
        with self._database.transaction() as session:
            forget(session, volume_id)
            finish(session, job.id, failure)
        return failure


def arguments_of(wanted: NewVolume, key: ServiceKey) -> dict[str, Any]:
    """What the job works with: the header keeps more of a data key than the volume's record."""
    of: dict[str, Any] = {} if wanted.image_id is None else {job_types.IMAGE: wanted.image_id}
    if wanted.snapshot_id is not None:
        of = {job_types.SNAPSHOT: [wanted.source_id, wanted.snapshot_id]}
    return {"thick": wanted.thick, "key": encode(ServiceKey, key), **of}


def new_record(call: Call, wanted: NewVolume, volume_id: str, key: ServiceKey) -> Volume:
    """The record of a volume that is being created."""
    now = utcnow()
    return Volume(
        id=volume_id,
        project_id=call.project_id,
        name=str(wanted.name),
        description=wanted.description,
        size_gib=wanted.size_gib,
        volume_type=wanted.volume_type,
        availability_zone=str(wanted.availability_zone),
        status=VolumeStatus.CREATING,
        thin=not wanted.thick,
        cmk_id=key.cmk_id,
        wrapped_dek=key.wrapped_dek,
        extra_metadata=wanted.metadata,
        tags=wanted.tags,
        user_name=call.principal,
        user_id=call.user_id,
        snapshot_id=wanted.snapshot_id,
        created_at=now,
        updated_at=now,
    )


def _header(volume: Volume, key: ServiceKey) -> luks2.Header:
    return luks2.Header(
        uuid=volume.id,
        label="",
        size=volume.size_gib * GIB,
        settled=volume.size_gib * GIB if volume.thin else 0,
        thin=volume.thin,
        wrapped_dek=volume.wrapped_dek,
        cmk_id=volume.cmk_id,
        cmk_version=key.cmk_version,
        context=encryption_context(volume.project_id, volume.id),
        digest_salt=key.digest_salt,
        digest_iterations=key.digest_iterations,
        digest=key.digest,
        sequence=1,
    )
