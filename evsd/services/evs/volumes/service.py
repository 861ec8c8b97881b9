"""Creating, showing, changing, extending and deleting volumes.

What takes several steps is journalled as a job: the record of the volume is there before its
file and goes after it, so `recover` can tell at start what was interrupted. How far it came, the
file says, for the records may be from a backup: a creation or deletion that left a whole file ends
with a volume, any other with none; an extension is finished. At start no file is ever removed,
cut or overwritten that somebody can have data in.

Thick volumes are filled in the background while the job runs; all else is done at once.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from evsd.errors import PublishedError, StorageFull, StorageReadOnly
from evsd.jobs.tables import Job
from evsd.key_channel.call import Call
from evsd.key_client.process import KeyProcess
from evsd.pools.pool import (
    HeaderInvalid,
    Pool,
    PoolError,
    PoolFull,
    PoolReadOnly,
    SizeDiffers,
    Untouched,
    VolumeBusy,
)
from evsd.resource import Resource
from evsd.services.evs.consumer import CONSUMER
from evsd.services.evs.errors import (
    JobNotFound,
    PoolFailed,
    VolumeCancelled,
    VolumeEncryptionBad,
    VolumeKeyNotEnabled,
    VolumeNameTaken,
    VolumeNotDeletable,
    VolumeNotDeleted,
    VolumeNotExtendable,
    VolumeNotExtended,
    VolumeNotFound,
    VolumeNotLarger,
)
from evsd.services.evs.key_context import encryption_context
from evsd.services.evs.limits import GIB
from evsd.services.evs.tables import Volume
from evsd.services.evs.volumes import journal, quotas
from evsd.services.evs.volumes.listing import Filters, Found, Page, find_page
from evsd.services.evs.volumes.preallocation import Cancelled, FillFailed, Preallocation, Serve
from evsd.services.evs.volumes.states import VOLUME_STATES, VolumeEvent, VolumeStatus
from evsd.services.kms.consumers import add_dependent, remove_dependent, rename_dependent
from evsd.services.kms.errors import KeyNotFound, KeyUnusable
from evsd.services.kms.operations import CreateServiceKey, ServiceKey
from evsd.store.database import Database, utcnow
from evsd.store.transitions import advance
from nbd_plugin import luks2

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class NewVolume:
    """What a caller asks for, already checked for form. Without `cmk_id`: the default key."""

    name: str
    size_gib: int
    thick: bool = False
    description: str = ""
    volume_type: str = "SSD"
    availability_zone: str = "local"
    cmk_id: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


class VolumeService(Resource):
    """The volumes of all projects."""

    def __init__(
        self,
        database: Database,
        keys: KeyProcess,
        pool: Pool,
        serve: Serve,
        end_serving: Callable[[str], None],
    ) -> None:
        """`end_serving(volume_id)` makes sure that no server that evsd started for itself is left.

        It raises `DetachFailed` where one can't be ended.
        """
        self._database, self._keys, self._pool = database, keys, pool
        self._filler, self._end_serving = Preallocation(serve), end_serving

    def close(self) -> None:
        """Stop filling volumes; `recover` deals with them at the next start."""
        self._filler.close()

    def check(self, project_id: str, wanted: NewVolume) -> None:
        """Refuse a name that is taken, and what a quota forbids; `create` has the last word."""
        if self.list_page(project_id, Page(limit=1), Filters({"name": wanted.name})).total:
            raise VolumeNameTaken(name=wanted.name, reason="")
        with self._database.reading() as session:
            quotas.require(session, project_id, volumes=1, gigabytes=wanted.size_gib)

    def create(self, call: Call, wanted: NewVolume) -> Job:
        """Make a volume and its data key; returns the job, which is running for a thick one.

        Raises `VolumeNameTaken`, `NotDelegated`, `VolumeKeyNotEnabled`, `VolumeEncryptionBad`,
        `PoolFailed`, and what a quota or a full pool refuses; nothing is left of the volume then.
        """
        volume_id = str(uuid.uuid4())
        self.check(call.project_id, wanted)  # before a data key is made for nothing
        key = self._new_key(call, wanted.cmk_id, volume_id)
        with self._database.transaction() as session:
            quotas.require(session, call.project_id, volumes=1, gigabytes=wanted.size_gib)
            volume = _record(call, wanted, volume_id, key)
            job = journal.begin(session, journal.CREATE, volume)
            add_record(session, volume)
        header = _header(volume, key)
        if wanted.thick:
            self._filler.start(volume_id, lambda: self._make(job.id, wanted.name, header))
            return job
        return self._make(job.id, wanted.name, header)

    def _make(self, job_id: str, name: str, header: luks2.Header) -> Job:
        """What a creation does after its record; where it fails nothing is left."""
        failure: PublishedError
        try:
            self._pool.create(header)
            if not header.thin:
                self._filler.fill(header.uuid, 0, header.size)
                self._pool.settle(header.uuid)
        except (PoolError, FillFailed, Cancelled, PublishedError) as error:
            failure = self._failure(name, error)
            self._remove(job_id, header.uuid, failure)
            raise failure from error
        return self._done(job_id, header.uuid, VolumeEvent.CREATED)

    def _done(self, job_id: str, volume_id: str, event: VolumeEvent, **changes: int) -> Job:
        with self._database.transaction() as session:
            volume = session.get_one(Volume, volume_id)
            advance(session, volume, VOLUME_STATES, event, updated_at=utcnow(), **changes)
            return journal.finish(session, job_id)

    def list_page(self, project_id: str, page: Page, filters: Filters) -> Found:
        """One page of a project's volumes; raises `VolumeMarkerUnknown`."""
        with self._database.reading() as session:
            return find_page(session, project_id, page, filters)

    def all_tags(self, project_id: str) -> list[dict[str, str]]:
        """The tags of each of a project's volumes."""
        with self._database.reading() as session:
            return list(session.scalars(select(Volume.tags).where(Volume.project_id == project_id)))

    def show(self, project_id: str, volume_id: str) -> Volume:
        """One volume; raises `VolumeNotFound`, for a foreign project's too."""
        with self._database.reading() as session:
            return find(session, project_id, volume_id)

    def update(
        self, project_id: str, volume_id: str, name: str | None, description: str | None
    ) -> Volume:
        """Change the name, or the description, or both; raises `VolumeNameTaken`."""
        changes = {"name": name, "description": description, "updated_at": utcnow()}
        with self._database.transaction() as session:
            volume = find(session, project_id, volume_id)
            for field_name, value in changes.items():
                if value is not None:
                    setattr(volume, field_name, value)
            try:
                session.flush()
            except IntegrityError as error:
                raise VolumeNameTaken(name=name, reason="") from error
            rename_dependent(session, CONSUMER.kind, volume_id, volume.name)
        return volume

    def extend(self, project_id: str, volume_id: str, size_gib: int) -> Job:
        """Make the volume larger; returns the job, which is running for a thick one.

        Raises `VolumeNotExtendable` for one that is attached, too: its clients would not be told;
        `VolumeNotLarger`, `PoolFailed`. The volume is then as it was.
        """
        with self._database.transaction() as session:
            volume = find(session, project_id, volume_id)
            if size_gib <= volume.size_gib:
                raise VolumeNotLarger(name=volume.name, size=volume.size_gib, value=size_gib)
            status = volume.status
            if not advance(session, volume, VOLUME_STATES, VolumeEvent.EXTEND):
                raise VolumeNotExtendable(name=volume.name, status=status)
            quotas.require(session, project_id, gigabytes=size_gib - volume.size_gib)
            job = journal.begin(session, journal.EXTEND, volume, size_gib=size_gib)
        return self._extend(job, volume, again=status == VolumeStatus.ERROR_EXTENDING)

    def _extend(self, job: Job, volume: Volume, *, again: bool) -> Job:
        if volume.thin:
            return self._grow(job, volume, again=again)
        self._filler.start(volume.id, lambda: self._grow(job, volume, again=again))
        return job

    def _grow(self, job: Job, volume: Volume, *, again: bool) -> Job:
        """What an extension does after its record; undone where it fails."""
        size_gib = int(job.entities["size"])
        failure: PublishedError
        try:
            size = size_gib * GIB
            start = self._pool.grow(volume.id, volume.size_gib * GIB, size, again=again)
            if start < size and not volume.thin:
                self._filler.fill(volume.id, start, size)
            self._pool.settle(volume.id)
        except Untouched as error:
            failure = self._not_begun(job.id, volume, error.cause, again=again)
            raise failure from error
        except (PoolError, FillFailed, Cancelled, PublishedError) as error:
            failure = self._failure(volume.name, error)
            self._undo_extension(job.id, volume, failure)
            raise failure from error
        return self._done(job.id, volume.id, VolumeEvent.EXTENDED, size_gib=size_gib)

    def _not_begun(
        self, job_id: str, volume: Volume, cause: PoolError, *, again: bool
    ) -> PublishedError:
        """The end of an extension that the file refused: the volume is what it was before.

        With `again` an earlier try may have begun. Where the file holds more than its record
        says, the file is right: the record is from a backup.
        """
        failure, size_gib = _not_extended(volume.name, cause), volume.size_gib
        if isinstance(cause, PoolFull | PoolReadOnly):
            failure = self._failure(volume.name, cause)
        event = VolumeEvent.EXTENSION_FAILED if again else VolumeEvent.EXTENSION_UNDONE
        if isinstance(cause, SizeDiffers):
            event = VolumeEvent.EXTENSION_UNDONE
            size_gib = max(size_gib, cause.held // GIB)
        self._end_extension(job_id, volume, event, failure, size_gib)
        return failure

    def _undo_extension(self, job_id: str, volume: Volume, failure: PublishedError) -> None:
        event, size_gib = VolumeEvent.EXTENSION_UNDONE, volume.size_gib
        try:
            self._end_serving(volume.id)
            size_gib = self._pool.shrink(volume.id) // GIB
        except (PoolError, PublishedError) as error:
            log.error("it can't be undone", volume=volume.id, reason=str(error))
            event = VolumeEvent.EXTENSION_FAILED
        self._end_extension(job_id, volume, event, failure, size_gib)

    def _end_extension(
        self,
        job_id: str,
        volume: Volume,
        event: VolumeEvent,
        failure: PublishedError,
        size_gib: int,
    ) -> None:
        with self._database.transaction() as session:
            record = session.get_one(Volume, volume.id)
            advance(session, record, VOLUME_STATES, event, size_gib=size_gib)
            journal.finish(session, job_id, failure)

    def delete(self, project_id: str, volume_id: str) -> Job:
        """Destroy the volume; raises `VolumeNotDeletable` unless it is available.

        One that is still being filled may be deleted too: that cancels its creation.
        """
        volume = self.show(project_id, volume_id)
        if volume.status == VolumeStatus.CREATING:
            self._filler.cancel(volume_id)
        with self._database.transaction() as session:
            if volume.status == VolumeStatus.CREATING and session.get(Volume, volume_id) is None:
                job = journal.begin(session, journal.DELETE, volume)
                return journal.finish(session, job.id)
            volume = find(session, project_id, volume_id)
            if not advance(session, volume, VOLUME_STATES, VolumeEvent.DELETE):
                raise VolumeNotDeletable(name=volume.name, status=volume.status)
            job = journal.begin(session, journal.DELETE, volume)
        return self._remove(job.id, volume_id)

    def job(self, project_id: str, job_id: str) -> Job:
        """One job; raises `JobNotFound`."""
        with self._database.reading() as session:
            job = session.get(Job, job_id)
        if job is None or job.project_id != project_id:
            raise JobNotFound(job_id=job_id)
        return job

    def percent(self, job: Job) -> int:
        """How far a job is."""
        if job.status == "RUNNING":
            return self._filler.percent(job.entities["volume_id"]) or 0
        return 100

    def recover(self) -> None:
        """Finish what the last run of evsd left undone; filling goes on in the background."""
        with self._database.reading() as session:
            unfinished = list(session.scalars(select(Job).where(Job.status == "RUNNING")))
        for job in unfinished:
            volume_id = job.entities["volume_id"]
            log.warning("unfinished job", job=job.id, type=job.type, volume=volume_id)
            try:
                self._recover_one(job, volume_id)
            except PublishedError as error:
                log.warning("undone", volume=volume_id, reason=error.message)
            except Exception:
                # One volume that is stuck must not keep evsd from serving all others.
                log.exception("not recovered", volume=volume_id)
        if self._database.restored:
            self._take_sizes_from_files()
        self._compare_with_pool()

    def _take_sizes_from_files(self) -> None:
        """Correct what an old database says of volumes that have been extended since."""
        under_way = (VolumeStatus.CREATING, VolumeStatus.EXTENDING, VolumeStatus.DELETING)
        with self._database.reading() as session:
            volumes = list(session.scalars(select(Volume).where(Volume.status.not_in(under_way))))
        for volume in volumes:
            with contextlib.suppress(PoolError):  # told of by `_compare_with_pool`
                size_gib = self._pool.header(volume.id).settled // GIB
                if size_gib and size_gib != volume.size_gib:
                    log.warning("a volume has another size", name=volume.name, size_gib=size_gib)
                    with self._database.transaction() as session:
                        session.get_one(Volume, volume.id).size_gib = size_gib

    def _compare_with_pool(self) -> None:
        """Say which volumes have no file, and which files no volume; touch none of them."""
        with self._database.reading() as session:
            volumes = {
                self._pool.path(volume_id).name: name
                for volume_id, name in session.execute(select(Volume.id, Volume.name))
            }
        files = self._pool.names()
        for file in sorted(volumes.keys() - files):
            log.error("the file of a volume is missing", name=volumes[file], file=file)
        for file in sorted(files - volumes.keys()):
            log.warning(
                "a file of the pool is no volume's",
                file=file,
                remedy="an interrupted operation left it: look at it, then remove it"
                if self._pool.is_left_over(file)
                else f"evsctl recover {file}",
            )

    def _recover_one(self, job: Job, volume_id: str) -> None:
        if job.type == journal.EXTEND:
            with self._database.reading() as session:
                volume = session.get_one(Volume, volume_id)
            self._extend(job, volume, again=True)
            return
        interrupted = PoolError("evsd was interrupted")
        try:
            whole = self._pool.whole(volume_id)
        except PoolError as error:
            raise self._not_deleted(job.id, volume_id, error) from error
        if whole is None:
            failure = self._failure(job.entities["name"], interrupted)
            self._remove(job.id, volume_id, failure if job.type == journal.CREATE else None)
        elif job.type == journal.CREATE:
            self._done(job.id, volume_id, VolumeEvent.CREATED, size_gib=whole.settled // GIB)
        else:
            self._not_deleted(job.id, volume_id, interrupted)

    def _new_key(self, call: Call, cmk_id: str | None, volume_id: str) -> ServiceKey:
        context = encryption_context(call.project_id, volume_id)
        try:
            return self._keys.call(call, CreateServiceKey(CONSUMER.service, cmk_id, context))
        except KeyUnusable as error:
            raise VolumeKeyNotEnabled(reason=error.text) from error
        except KeyNotFound as error:
            raise VolumeEncryptionBad(reason=error.message) from error

    def _remove(self, job_id: str, volume_id: str, error: PublishedError | None = None) -> Job:
        """The end of a deletion, and of a creation that failed with `error`.

        Where the pool won't delete the file, or a server that can't be ended has it, the volume
        stays: as it was if its file did, else in an error state from which it can be deleted
        again. Raises `VolumeNotDeleted`, `PoolFailed`, `DetachFailed`.
        """
        try:
            self._end_serving(volume_id)
            self._pool.delete(volume_id)
        except (PoolError, PublishedError) as stuck:
            raise self._not_deleted(job_id, volume_id, stuck) from stuck
        with self._database.transaction() as session:
            volume = session.get(Volume, volume_id)
            if volume is not None:
                session.delete(volume)
                remove_dependent(session, CONSUMER.kind, volume_id)
            return journal.finish(session, job_id, error)

    def _not_deleted(self, job_id: str, volume_id: str, error: Exception) -> PublishedError:
        """The end of a deletion, or of a creation that failed, where a file is left."""
        log.error("not deleted", volume=volume_id, reason=str(error))
        begun = not self._is_there(volume_id)
        with self._database.transaction() as session:
            volume = session.get_one(Volume, volume_id)
            failure = self._failure(volume.name, error)
            event = VolumeEvent.DELETE_FAILED if begun else VolumeEvent.DELETION_UNDONE
            if not begun:
                failure = VolumeNotDeleted(name=volume.name, reason=error)
            advance(session, volume, VOLUME_STATES, event)
            advance(session, volume, VOLUME_STATES, VolumeEvent.CREATE_FAILED)
            journal.finish(session, job_id, failure)
        return failure

    def _is_there(self, volume_id: str) -> bool:
        """Whether a volume has its file under its name, which a deletion takes away first."""
        try:
            return self._pool.whole(volume_id) is not None
        except PoolError:  # nor is it changed where it can't be read
            return True

    def _failure(self, name: str, error: Exception) -> PublishedError:
        """What the caller is told of an error in the work on a volume."""
        if isinstance(error, PublishedError):
            return error
        if isinstance(error, Cancelled):
            return VolumeCancelled(name=name)
        if isinstance(error, PoolFull | PoolReadOnly):
            refused = StorageFull if isinstance(error, PoolFull) else StorageReadOnly
            return refused(what=f"volume {name}: the pool", path=self._pool.place, reason=error)
        return PoolFailed(name=name, reason=error)


def _not_extended(name: str, cause: PoolError) -> PublishedError:
    """What the caller is told of an extension that the file refused."""
    if isinstance(cause, SizeDiffers):
        remedy = "if its header is an old one: evsctl header restore {name} FILE"
    elif isinstance(cause, HeaderInvalid):
        remedy = "mend its header: evsctl header restore {name} FILE, then extend it again"
    elif isinstance(cause, VolumeBusy):
        remedy = "end what has the file open, then extend it again"
    else:
        remedy = "look at the pool's filesystem, then extend it again"
    return VolumeNotExtended(name=name, reason=cause, remedy=remedy.format(name=name))


def find(session: Session, project_id: str, volume_id: str) -> Volume:
    """The volume's record in this session; a foreign one looks like a missing one."""
    volume = session.get(Volume, volume_id)
    if volume is None or volume.project_id != project_id:
        raise VolumeNotFound(name=volume_id)
    return volume


def add_record(session: Session, volume: Volume) -> None:
    """Enter a new volume, with its key; raises `VolumeNameTaken`."""
    session.add(volume)
    try:
        session.flush()
    except IntegrityError as error:
        raise VolumeNameTaken(name=volume.name, reason="") from error
    add_dependent(
        session,
        CONSUMER.kind,
        volume.id,
        volume.name,
        volume.project_id,
        volume.cmk_id,
        volume.created_at,
    )


def _record(call: Call, wanted: NewVolume, volume_id: str, key: ServiceKey) -> Volume:
    now = utcnow()
    return Volume(
        id=volume_id,
        project_id=call.project_id,
        name=wanted.name,
        description=wanted.description,
        size_gib=wanted.size_gib,
        volume_type=wanted.volume_type,
        availability_zone=wanted.availability_zone,
        status=VolumeStatus.CREATING,
        thin=not wanted.thick,
        cmk_id=key.cmk_id,
        wrapped_dek=key.wrapped_dek,
        extra_metadata=wanted.metadata,
        tags=wanted.tags,
        user_name=call.principal,
        user_id=call.user_id,
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
