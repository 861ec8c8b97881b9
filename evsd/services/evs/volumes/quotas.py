"""How many volumes and snapshots, of how many GiB in all, a project may have.

A limit is held in the transaction that makes the record it is about: of two requests that would
go beyond it together one is refused.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from evsd.jobs.service import RUNNING
from evsd.jobs.tables import Job
from evsd.key_channel.call import Call
from evsd.key_channel.shared import RecordChange
from evsd.key_client.process import KeyProcess
from evsd.services.evs.errors import (
    EvsProjectMismatch,
    GigabyteQuotaExceeded,
    SnapshotQuotaExceeded,
    VolumeQuotaExceeded,
)
from evsd.services.evs.tables import Quota, Snapshot, Volume
from evsd.services.evs.volumes import job_types
from evsd.services.iam.tables import Project
from evsd.store.database import Database


@dataclass(frozen=True, slots=True)
class Limits:
    """Of a project; None is no limit."""

    volumes: int | None = None
    gigabytes: int | None = None
    snapshots: int | None = None

    @classmethod
    def of(cls, quota: Quota | None) -> Limits:
        """As they are on record."""
        if quota is None:
            return cls()
        return cls(quota.volumes, quota.gigabytes, quota.snapshots)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a project has: GiB as volumes show them, and what extensions under way will add."""

    volumes: int
    gigabytes: int
    growing: int
    by_type: dict[str, tuple[int, int]]  # volumes and GiB of each volume type
    snapshots: dict[str, int]  # of volumes of each type


class QuotaService:
    """The quotas of all projects."""

    def __init__(self, database: Database, keys: KeyProcess) -> None:
        self._database, self._keys = database, keys

    def show(self, project_id: str) -> tuple[Limits, Usage]:
        """What a project may have, and has; raises `EvsProjectMismatch` where there is none."""
        with self._database.reading() as session:
            if session.get(Project, project_id) is None:
                raise EvsProjectMismatch(project_id=project_id)
            return _limits(session, project_id), _usage(session, project_id)

    def set(self, call: Call, project_id: str, **changes: int | None) -> Limits:
        """Change limits; what a project has already it keeps.

        The change is in the audit log before it is made: what can't be recorded is not done.
        """
        with self._database.reading() as session:
            if session.get(Project, project_id) is None:
                raise EvsProjectMismatch(project_id=project_id)
        asked = {name: "unlimited" if n is None else str(n) for name, n in changes.items()}
        self._keys.call(call, RecordChange("update-quota", {"of_project": project_id, **asked}))
        with self._database.transaction() as session:
            limits = replace(_limits(session, project_id), **changes)
            session.merge(Quota(project_id=project_id, **asdict(limits)))
        return limits

    def promised(self) -> int:
        """The GiB of all volumes of all projects."""
        with self._database.reading() as session:
            return session.scalar(select(func.sum(Volume.size_gib))) or 0


def require(
    session: Session, project_id: str, *, volumes: int = 0, gigabytes: int = 0, snapshots: int = 0
) -> None:
    """Refuse what goes beyond the project's limits, before it is added in this session.

    Raises `VolumeQuotaExceeded`, `GigabyteQuotaExceeded`, `SnapshotQuotaExceeded`.
    """
    limits = _limits(session, project_id)
    if limits == Limits():
        return
    name, has = session.get_one(Project, project_id).name, _usage(session, project_id)
    if limits.volumes is not None and volumes and has.volumes + volumes > limits.volumes:
        raise VolumeQuotaExceeded(
            project=name, used=has.volumes, limit=limits.volumes, wanted=volumes
        )
    used = has.gigabytes + has.growing
    if limits.gigabytes is not None and gigabytes and used + gigabytes > limits.gigabytes:
        raise GigabyteQuotaExceeded(
            project=name, used=used, limit=limits.gigabytes, wanted=gigabytes
        )
    taken = sum(has.snapshots.values())
    if limits.snapshots is not None and snapshots and taken + snapshots > limits.snapshots:
        raise SnapshotQuotaExceeded(
            project=name, used=taken, limit=limits.snapshots, wanted=snapshots
        )


def _limits(session: Session, project_id: str) -> Limits:
    # Locked until the end of a transaction, where the database can do that: SQLite has one writer.
    return Limits.of(session.get(Quota, project_id, with_for_update=True))


def _usage(session: Session, project_id: str) -> Usage:
    query = select(Volume.volume_type, func.count(), func.sum(Volume.size_gib))
    query = query.where(Volume.project_id == project_id).group_by(Volume.volume_type)
    by_type = {kind: (count, size) for kind, count, size in session.execute(query).tuples()}
    growing = select(Job.entities, Volume.size_gib).where(
        Job.project_id == project_id,
        Job.status == RUNNING,
        Job.type == job_types.EXTEND,
        Volume.id == Job.entities["volume_id"].as_string(),
    )
    return Usage(
        volumes=sum(count for count, _ in by_type.values()),
        gigabytes=sum(size for _, size in by_type.values()),
        growing=sum(
            int(entities["size"]) - size for entities, size in session.execute(growing).tuples()
        ),
        by_type=by_type,
        snapshots=_snapshots(session, project_id),
    )


def _snapshots(session: Session, project_id: str) -> dict[str, int]:
    query = select(Snapshot.volume_type, func.count())
    query = query.where(Snapshot.project_id == project_id).group_by(Snapshot.volume_type)
    return dict(session.execute(query).tuples().all())
