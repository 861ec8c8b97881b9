"""The jobs of snapshots: their types, and what they are about."""

from __future__ import annotations

from typing import Any

from evsd.jobs.tables import Job
from evsd.services.evs.tables import Snapshot

CREATE, CREATE_GROUP = "createSnapshot", "createSnapshotGroup"
DELETE, ROLL_BACK = "deleteSnapshot", "rollbackSnapshot"
SNAPSHOTS, GROUP = "snapshot_ids", "snapshot_group_id"


def about(snapshot: Snapshot) -> dict[str, Any]:
    """What is shown of a snapshot, and of its volume."""
    return {
        "snapshot_id": snapshot.id,
        "volume_id": snapshot.volume_id,
        "name": snapshot.name,
        "size": snapshot.size_gib,
        "volume_type": snapshot.volume_type,
    }


def snapshots_of(job: Job) -> list[str]:
    """Which snapshots a job is about."""
    if SNAPSHOTS in job.entities:
        return list(job.entities[SNAPSHOTS])
    return [str(job.entities["snapshot_id"])]
