"""Tags of volumes. They are words on records: no key is asked for, and no server."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from sqlalchemy import select

from evsd.services.evs.errors import VolumeTagNotFound, VolumeTagQuotaExceeded
from evsd.services.evs.limits import TAG_LIMIT
from evsd.services.evs.tables import Snapshot, SnapshotGroup, Volume
from evsd.services.evs.volumes.records import find
from evsd.store.database import Database


class VolumeTags:
    """The tags of all projects' volumes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def show(self, project_id: str, volume_id: str) -> dict[str, str]:
        """The tags of one volume; raises `VolumeNotFound`."""
        with self._database.reading() as session:
            return find(session, project_id, volume_id).tags

    def add(
        self, project_id: str, volume_id: str, tags: dict[str, str], *, replace: bool = False
    ) -> None:
        """Add tags, or change their values; with `replace` the volume has these and no others.

        Raises `VolumeNotFound`, `VolumeTagQuotaExceeded`: nothing is changed then.
        """
        with self._database.transaction() as session:
            volume = find(session, project_id, volume_id)
            add_tags(volume, tags, replace=replace)

    def remove(self, project_id: str, volume_id: str, keys: Iterable[str]) -> None:
        """Remove tags; raises `VolumeTagNotFound` where one isn't there, and removes none then."""
        with self._database.transaction() as session:
            volume = find(session, project_id, volume_id)
            missing = [key for key in keys if key not in volume.tags]
            if missing:
                raise VolumeTagNotFound(name=volume.name, tag=missing[0])
            remove_tags(volume, keys)

    def of_project(self, project_id: str) -> dict[str, list[str]]:
        """All tags of a project's volumes, each with its values."""
        query = select(Volume.tags).where(Volume.project_id == project_id)
        with self._database.reading() as session:
            return values_by_key(session.scalars(query))


def values_by_key(each: Iterable[Mapping[str, str]]) -> dict[str, list[str]]:
    """What there is of each key in all of these, tags or metadata of volumes; all in order."""
    values: dict[str, set[str]] = defaultdict(set)
    for pairs in each:
        for key, value in pairs.items():
            values[key].add(value)
    return {key: sorted(values[key]) for key in sorted(values)}


def add_tags(
    record: Volume | Snapshot | SnapshotGroup, tags: Mapping[str, str], *, replace: bool = False
) -> None:
    """Add tags, or change their values; with `replace` it has these and no others.

    Raises `VolumeTagQuotaExceeded`.
    """
    wanted = {**tags} if replace else {**record.tags, **tags}
    require_few(record.name, wanted)
    record.tags = wanted


def remove_tags(record: Volume | Snapshot | SnapshotGroup, keys: Iterable[str]) -> None:
    """Remove tags; one that isn't there is no matter."""
    gone = set(keys)
    record.tags = {key: text for key, text in record.tags.items() if key not in gone}


def require_few(name: str, tags: dict[str, str]) -> None:
    """Raise `VolumeTagQuotaExceeded` where these are more than a volume may have."""
    if len(tags) > TAG_LIMIT:
        raise VolumeTagQuotaExceeded(name=name, limit=TAG_LIMIT)
