"""Creating, showing and deleting volumes.

Creation and deletion take several steps, journalled as a job: the record of the volume is there
before its file and goes after it, so `recover` can tell at start what was interrupted. An
interrupted creation is rolled back, an interrupted deletion rolled forward.
"""

from __future__ import annotations

import contextlib
import uuid
from dataclasses import dataclass, field

import structlog
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from evsd.errors import (
    JobNotFound,
    KeyNotFound,
    KeyUnusable,
    PoolFailed,
    PublishedError,
    VolumeEncryptionBad,
    VolumeKeyNotEnabled,
    VolumeNameTaken,
    VolumeNotDeletable,
    VolumeNotFound,
)
from evsd.kms.call import Call
from evsd.kms.client import KeyProcess
from evsd.kms.context import encryption_context
from evsd.pools.file import FilePool
from evsd.store.database import Database, utcnow
from evsd.store.tables import Job, Volume
from evsd.store.transitions import advance
from evsd.volumes.states import VOLUME_STATES, VolumeEvent, VolumeStatus
from nbd_plugin import luks2

GIB = 1024**3
MAX_SIZE_GIB = 32768

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class NewVolume:
    """What a caller asks for, already checked for form. Without `cmk_id`: the default key."""

    name: str
    size_gib: int
    description: str = ""
    volume_type: str = "SSD"
    availability_zone: str = "local"
    cmk_id: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list, in which order."""

    limit: int
    offset: int = 0
    sort_key: str = "created_at"
    descending: bool = True


SORT_KEYS = {
    "id": Volume.id,
    "status": Volume.status,
    "size": Volume.size_gib,
    "created_at": Volume.created_at,
}


class VolumeService:
    """The volumes of all projects."""

    def __init__(self, database: Database, keys: KeyProcess, pool: FilePool) -> None:
        self._database, self._keys, self._pool = database, keys, pool

    def create(self, call: Call, wanted: NewVolume) -> Job:
        """Make a volume and its data key; returns the finished job.

        Raises `VolumeNameTaken`, `NotDelegated`, `VolumeKeyNotEnabled`, `VolumeEncryptionBad`,
        `PoolFailed`; nothing is left of the volume then.
        """
        volume_id = str(uuid.uuid4())
        self._require_free_name(call.project_id, wanted.name)
        key = self._new_key(call, wanted.cmk_id, volume_id)
        with self._database.transaction() as session:
            volume = _record(call, wanted, volume_id, key)
            job = _begin(session, call.project_id, "createVolume", volume)
            session.add(volume)
            try:
                session.flush()
            except IntegrityError as error:
                raise VolumeNameTaken(name=wanted.name, reason="") from error
        try:
            self._pool.create(_header(volume, key))
        except OSError as error:
            failure = PoolFailed(name=wanted.name, reason=error.strerror)
            self._remove(job.id, volume_id, failure)
            raise failure from error
        with self._database.transaction() as session:
            advance(session, session.get_one(Volume, volume_id), VOLUME_STATES, VolumeEvent.CREATED)
            return _finish(session, job.id)

    def list_page(
        self, project_id: str, page: Page, ids: list[str] | None = None, **filters: str | None
    ) -> tuple[list[Volume], int]:
        """One page of a project's volumes, and how many match in all."""
        where = [Volume.project_id == project_id]
        where += [getattr(Volume, k) == v for k, v in filters.items() if v is not None]
        if ids is not None:
            where.append(Volume.id.in_(ids))
        key = SORT_KEYS[page.sort_key]
        query = select(Volume).where(*where)
        query = query.order_by(key.desc() if page.descending else key, Volume.id)
        with self._database.reading() as session:
            total = session.scalar(select(func.count()).select_from(Volume).where(*where)) or 0
            return list(session.scalars(query.limit(page.limit).offset(page.offset))), total

    def show(self, project_id: str, volume_id: str) -> Volume:
        """One volume; raises `VolumeNotFound`, for a foreign project's too."""
        with self._database.reading() as session:
            return find(session, project_id, volume_id)

    def delete(self, project_id: str, volume_id: str) -> Job:
        """Destroy the volume; raises `VolumeNotDeletable` unless it is available."""
        with self._database.transaction() as session:
            volume = find(session, project_id, volume_id)
            if not advance(session, volume, VOLUME_STATES, VolumeEvent.DELETE):
                raise VolumeNotDeletable(name=volume.name, status=volume.status)
            job = _begin(session, project_id, "deleteVolume", volume)
        return self._remove(job.id, volume_id)

    def job(self, project_id: str, job_id: str) -> Job:
        """One job; raises `JobNotFound`."""
        with self._database.reading() as session:
            job = session.get(Job, job_id)
        if job is None or job.project_id != project_id:
            raise JobNotFound(job_id=job_id)
        return job

    def recover(self) -> None:
        """Finish what the last run of evsd left undone."""
        with self._database.reading() as session:
            unfinished = list(session.scalars(select(Job).where(Job.status == "RUNNING")))
        for job in unfinished:
            volume_id = job.entities["volume_id"]
            log.warning("unfinished job", job=job.id, type=job.type, volume=volume_id)
            interrupted = PoolFailed(name=job.entities["name"], reason="evsd was interrupted")
            # One volume that can't be removed must not keep evsd from serving all others.
            with contextlib.suppress(PoolFailed):
                self._remove(job.id, volume_id, None if job.type == "deleteVolume" else interrupted)

    def _require_free_name(self, project_id: str, name: str) -> None:
        """Refuse before a data key is made; the unique index has the last word."""
        if self.list_page(project_id, Page(limit=1), name=name)[1]:
            raise VolumeNameTaken(name=name, reason="")

    def _new_key(self, call: Call, cmk_id: str | None, volume_id: str) -> dict[str, object]:
        context = encryption_context(call.project_id, volume_id)
        try:
            return self._keys.call("create_volume_key", call, key_id=cmk_id, context=context)
        except KeyUnusable as error:
            raise VolumeKeyNotEnabled(reason=error.text) from error
        except KeyNotFound as error:
            raise VolumeEncryptionBad(reason=error.message) from error

    def _remove(self, job_id: str, volume_id: str, error: PublishedError | None = None) -> Job:
        """The end of a deletion, and of a creation that failed with `error`.

        Where the pool won't delete the file, the volume stays, in an error state from which it
        can be deleted again; raises `PoolFailed`.
        """
        try:
            self._pool.delete(volume_id)
        except OSError as stuck:
            raise self._stuck(job_id, volume_id, stuck) from stuck
        with self._database.transaction() as session:
            volume = session.get(Volume, volume_id)
            if volume is not None:
                session.delete(volume)
            return _finish(session, job_id, error)

    def _stuck(self, job_id: str, volume_id: str, error: OSError) -> PoolFailed:
        log.error("the pool can't delete", volume=volume_id, reason=str(error))
        with self._database.transaction() as session:
            volume = session.get_one(Volume, volume_id)
            failure = PoolFailed(name=volume.name, reason=error.strerror)
            for event in (VolumeEvent.DELETE_FAILED, VolumeEvent.CREATE_FAILED):
                advance(session, volume, VOLUME_STATES, event)
            _finish(session, job_id, failure)
        return failure


def find(session: Session, project_id: str, volume_id: str) -> Volume:
    """The volume's record in this session; a foreign one looks like a missing one."""
    volume = session.get(Volume, volume_id)
    if volume is None or volume.project_id != project_id:
        raise VolumeNotFound(name=volume_id)
    return volume


def _record(call: Call, wanted: NewVolume, volume_id: str, key: dict[str, object]) -> Volume:
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
        thin=True,
        cmk_id=str(key["cmk_id"]),
        wrapped_dek=bytes.fromhex(str(key["wrapped_dek"])),
        extra_metadata=wanted.metadata,
        tags=wanted.tags,
        user_name=call.principal,
        created_at=now,
        updated_at=now,
    )


def _header(volume: Volume, key: dict[str, object]) -> luks2.Header:
    return luks2.Header(
        uuid=volume.id,
        label="",
        size=volume.size_gib * GIB,
        thin=volume.thin,
        wrapped_dek=volume.wrapped_dek,
        cmk_id=volume.cmk_id,
        cmk_version=int(str(key["cmk_version"])),
        context=encryption_context(volume.project_id, volume.id),
        digest_salt=bytes.fromhex(str(key["digest_salt"])),
        digest_iterations=int(str(key["digest_iterations"])),
        digest=bytes.fromhex(str(key["digest"])),
        sequence=1,
    )


def _begin(session: Session, project_id: str, kind: str, volume: Volume) -> Job:
    job = Job(
        id=uuid.uuid4().hex,
        project_id=project_id,
        type=kind,
        status="RUNNING",
        entities={
            "volume_id": volume.id,
            "name": volume.name,
            "size": volume.size_gib,
            "volume_type": volume.volume_type,
        },
        begin_at=utcnow(),
    )
    session.add(job)
    return job


def _finish(session: Session, job_id: str, error: PublishedError | None = None) -> Job:
    job = session.get_one(Job, job_id)
    job.status = "SUCCESS" if error is None else "FAIL"
    job.end_at = utcnow()
    if error is not None:
        job.error_code, job.fail_reason = error.code, error.text
    return job
