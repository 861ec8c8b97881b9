"""Jobs: what the published API shows of a long operation, and the journal of it.

A job that is RUNNING when evsd starts was interrupted; its type and entities say how to go on.
"""

from __future__ import annotations

import uuid

from sqlalchemy.orm import Session

from evsd.errors import PublishedError
from evsd.jobs.tables import Job
from evsd.services.evs.tables import Volume
from evsd.store.database import utcnow

CREATE, DELETE, EXTEND = "createVolume", "deleteVolume", "extendVolume"


def begin(session: Session, kind: str, volume: Volume, *, size_gib: int | None = None) -> Job:
    """Note that an operation on a volume begins; `size_gib` is what its size will be."""
    job = Job(
        id=uuid.uuid4().hex,
        project_id=volume.project_id,
        type=kind,
        status="RUNNING",
        entities={
            "volume_id": volume.id,
            "name": volume.name,
            "size": size_gib or volume.size_gib,
            "volume_type": volume.volume_type,
        },
        begin_at=utcnow(),
    )
    session.add(job)
    return job


def finish(session: Session, job_id: str, error: PublishedError | None = None) -> Job:
    """Note how it ended."""
    job = session.get_one(Job, job_id)
    job.status = "SUCCESS" if error is None else "FAIL"
    job.end_at = utcnow()
    if error is not None:
        job.error_code, job.fail_reason = error.code, error.text[:1024]
    return job
