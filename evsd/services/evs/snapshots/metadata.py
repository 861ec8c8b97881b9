"""The metadata of snapshots: what their users put there, and nothing of the service's own."""

from __future__ import annotations

from evsd.services.evs.errors import SnapshotMetadataNotFound, SnapshotMetadataTooLong
from evsd.services.evs.snapshots.records import find
from evsd.services.evs.tables import Snapshot
from evsd.services.evs.volumes.metadata import TOTAL_LIMIT, is_too_long
from evsd.store.database import Database, utcnow


class SnapshotMetadata:
    """The metadata of all projects' snapshots."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def change(
        self, project_id: str, snapshot_id: str, changes: dict[str, str], *, replace: bool = False
    ) -> dict[str, str]:
        """Add or change some, or with `replace` have these and no others; returns all of it.

        Raises `SnapshotMetadataTooLong` where all together is.
        """
        with self._database.transaction() as session:
            snapshot = find(session, project_id, snapshot_id)
            return _keep(snapshot, changes if replace else {**snapshot.extra_metadata, **changes})

    def remove(self, project_id: str, snapshot_id: str, key: str) -> None:
        """Remove one; raises `SnapshotMetadataNotFound`."""
        with self._database.transaction() as session:
            snapshot = find(session, project_id, snapshot_id)
            if key not in snapshot.extra_metadata:
                raise SnapshotMetadataNotFound(name=snapshot.name, key=key[:64])
            _keep(snapshot, {k: v for k, v in snapshot.extra_metadata.items() if k != key})


def _keep(snapshot: Snapshot, metadata: dict[str, str]) -> dict[str, str]:
    if is_too_long(metadata):
        raise SnapshotMetadataTooLong(name=snapshot.name, limit=TOTAL_LIMIT)
    snapshot.extra_metadata, snapshot.updated_at = metadata, utcnow()
    return metadata
