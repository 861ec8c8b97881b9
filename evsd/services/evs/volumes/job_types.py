"""The jobs of volumes, as published: their types, and what they are about."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, and_

from evsd.jobs.service import RUNNING
from evsd.jobs.tables import Job
from evsd.services.evs.tables import Volume

CREATE, DELETE, EXTEND = "createVolume", "deleteVolume", "extendVolume"
BATCH_CREATE, RETYPE = "batchCreateVolume", "retypeVolume"
IMAGE = "image_id"  # among the arguments of a creation: what the volume is made of
SNAPSHOT = "snapshot"  # argument of a creation: the ids of its volume and its own
PARTS = "sub_jobs"  # the ids of the jobs that a job of several volumes consists of


def about(volume: Volume, *, size_gib: int | None = None) -> dict[str, Any]:
    """What is shown of the volume; `size_gib` is what its size will be."""
    return {
        "volume_id": volume.id,
        "name": volume.name,
        "size": size_gib or volume.size_gib,
        "volume_type": volume.volume_type,
    }


def volume_of(job: Job) -> str:
    """Which volume a job is about."""
    return str(job.entities["volume_id"])


def under_way(kind: str, volume_id: str) -> ColumnElement[bool]:
    """What is true of the job of this kind that works on the volume."""
    same = Job.entities["volume_id"].as_string() == volume_id
    return and_(Job.type == kind, Job.status == RUNNING, same)
