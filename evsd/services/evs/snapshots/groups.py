"""Snapshot groups: snapshots of several volumes, all of the same moment."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from evsd.jobs.service import Jobs
from evsd.jobs.tables import Job
from evsd.key_channel.call import Call
from evsd.services.evs.errors import SnapshotGroupNotFound, SnapshotUpdateEmpty
from evsd.services.evs.snapshots import jobs
from evsd.services.evs.snapshots.service import NewSnapshot, SnapshotService
from evsd.services.evs.snapshots.states import SnapshotStatus
from evsd.services.evs.tables import Snapshot, SnapshotGroup
from evsd.services.evs.volumes.tags import add_tags, remove_tags, require_few
from evsd.store.database import Database, utcnow

WORST_FIRST = (
    SnapshotStatus.ERROR,
    SnapshotStatus.ERROR_DELETING,
    SnapshotStatus.CREATING,
    SnapshotStatus.DELETING,
)


@dataclass(frozen=True, slots=True)
class NewGroup:
    """What a caller asks for; without a name evsd gives one."""

    volume_ids: Sequence[str]
    name: str | None = None
    description: str = ""
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Group:
    """A group, and what its snapshots are like together."""

    record: SnapshotGroup
    status: str


class SnapshotGroups:
    """The snapshot groups of all projects."""

    def __init__(self, database: Database, snapshots: SnapshotService, job_service: Jobs) -> None:
        self._database, self._snapshots, self._jobs = database, snapshots, job_service

    def create(self, call: Call, wanted: NewGroup) -> tuple[str, Job]:
        """Take snapshots of volumes at one moment; returns the group's id and the job.

        The job is running where a volume is attached. Raises as `SnapshotService.create`; nothing
        is left then.
        """
        with self._database.transaction() as session:
            group = _new_record(call, wanted)
            session.add(group)
            session.flush()
            made = [
                self._snapshots.enter(session, call, _one_of(group, volume_id), group.id)
                for volume_id in dict.fromkeys(wanted.volume_ids)
            ]
            about = {
                jobs.GROUP: group.id,
                "name": group.name,
                jobs.SNAPSHOTS: [snapshot.id for snapshot, _ in made],
            }
            served = any(is_served for _, is_served in made)
            kind, project = jobs.CREATE_GROUP, call.project_id
            job = self._jobs.begin(session, kind, project, about, served=served)
        return group.id, self._jobs.start(job)

    def show(self, project_id: str, group_id: str) -> Group:
        """One group; raises `SnapshotGroupNotFound`, for a foreign project's too."""
        with self._database.reading() as session:
            group = _find(session, project_id, group_id)
            return Group(group, _status(_members(session, group_id)))

    def list_all(self, project_id: str) -> list[Group]:
        """A project's groups, newest first."""
        query = select(SnapshotGroup).where(SnapshotGroup.project_id == project_id)
        newest_first = query.order_by(SnapshotGroup.created_at.desc(), SnapshotGroup.id)
        with self._database.reading() as session:
            return [
                Group(group, _status(_members(session, group.id)))
                for group in session.scalars(newest_first).all()
            ]

    def update(
        self, project_id: str, group_id: str, name: str | None, description: str | None
    ) -> Group:
        """Change name, description, or both; raises `SnapshotUpdateEmpty` for neither."""
        if name is None and description is None:
            raise SnapshotUpdateEmpty()
        with self._database.transaction() as session:
            group = _find(session, project_id, group_id)
            group.name = group.name if name is None else name
            group.description = group.description if description is None else description
            group.updated_at = utcnow()
        return self.show(project_id, group_id)

    def delete(self, project_id: str, group_id: str) -> list[Job]:
        """Delete a group with all its snapshots; returns the jobs: they are done.

        Raises `SnapshotNotDeletable` where one can't be: none is deleted then.
        """
        with self._database.transaction() as session:
            group = _find(session, project_id, group_id)
            begun = []
            for snapshot in _members(session, group_id):
                snapshot.group_id = None
                session.flush()
                begun.append(self._snapshots.begin_deletion(session, snapshot))
            session.delete(group)
        return [self._jobs.start(job) for job in begun]

    def tag(self, project_id: str, group_id: str, tags: Mapping[str, str]) -> None:
        """Add tags, or change their values; raises `VolumeTagQuotaExceeded`."""
        with self._database.transaction() as session:
            add_tags(_find(session, project_id, group_id), tags)

    def untag(self, project_id: str, group_id: str, keys: Sequence[str]) -> None:
        """Remove tags; one that isn't there is no matter, as published."""
        with self._database.transaction() as session:
            remove_tags(_find(session, project_id, group_id), keys)


def _find(session: Session, project_id: str, group_id: str) -> SnapshotGroup:
    group = session.get(SnapshotGroup, group_id)
    if group is None or group.project_id != project_id:
        raise SnapshotGroupNotFound(name=group_id)
    return group


def _members(session: Session, group_id: str) -> Sequence[Snapshot]:
    return session.scalars(select(Snapshot).where(Snapshot.group_id == group_id)).all()


def _status(members: Sequence[Snapshot]) -> str:
    """What they are like together: what is wrong first, then what is under way."""
    there = {member.status for member in members}
    return next(
        (str(status) for status in WORST_FIRST if status in there), SnapshotStatus.AVAILABLE
    )


def _one_of(group: SnapshotGroup, volume_id: str) -> NewSnapshot:
    return NewSnapshot(volume_id, group.name, group.description)


def _new_record(call: Call, wanted: NewGroup) -> SnapshotGroup:
    group_id, now = str(uuid.uuid4()), utcnow()
    name = wanted.name or f"snapshot-{group_id[:8]}"
    require_few(name, wanted.tags)
    return SnapshotGroup(
        id=group_id,
        project_id=call.project_id,
        name=name,
        description=wanted.description,
        tags=wanted.tags,
        created_at=now,
        updated_at=now,
    )
