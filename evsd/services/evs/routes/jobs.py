"""Jobs, on the published path that EVS and IMS share."""

from __future__ import annotations

from datetime import datetime

from evsd.api.router import Router, router
from evsd.api.routes import Caller, Model, needs
from evsd.jobs.tables import Job
from evsd.services.evs.permissions import EvsPermission
from evsd.services.evs.routes.dependencies import UsesEvs
from evsd.services.evs.snapshots.jobs import GROUP
from evsd.services.evs.style import EVS


class JobEntities(Model):
    """The volume that a job is about."""

    volume_id: str
    volume_type: str
    size: int
    name: str


class SnapshotEntities(JobEntities):
    """The snapshot that a job is about, and its volume."""

    snapshot_id: str


class GroupEntities(Model):
    """The group of snapshots that a job is about."""

    snapshot_group_id: str
    snapshot_ids: list[str]
    name: str


class SubJob(Model):
    """A part of a job, which is a job by itself."""

    job_id: str
    job_type: str
    status: str
    begin_time: str
    end_time: str | None
    entities: JobEntities
    error_code: str | None
    fail_reason: str | None


class BatchEntities(Model):
    """What a job consists of that is about several volumes."""

    sub_jobs: list[SubJob]


class ImageEntities(Model):
    """The image that a job of IMS is about, and how far it is, in percent."""

    image_id: str
    image_name: str
    process_percent: float


class ShowJobResponse(Model):
    """Of show job. `progress` is in percent, and not of the published fields."""

    job_id: str
    job_type: str
    status: str
    progress: int
    begin_time: str
    end_time: str | None
    entities: SnapshotEntities | JobEntities | GroupEntities | BatchEntities | ImageEntities
    error_code: str | None
    fail_reason: str | None


routes: Router = router(EVS, "EVS")


@routes.get("/v2/{project_id}/jobs/{job_id}", **needs(EvsPermission.JOB_SHOW))
@routes.get("/v1/{project_id}/jobs/{job_id}", **needs(EvsPermission.JOB_SHOW))
def show_job(job_id: str, call: Caller, evs: UsesEvs) -> ShowJobResponse:
    """How a create, extend, delete, retype or roll back goes, or went."""
    job = evs.volumes.job(call.project_id, job_id)
    parts = evs.volumes.parts(job)
    return ShowJobResponse(
        job_id=job.id,
        job_type=job.type,
        status=job.status,
        progress=evs.host.jobs.percent(job),
        begin_time=_time(job.begin_at),
        end_time=_time(job.end_at) if job.end_at else None,
        entities=_entities(job, parts, evs.host.jobs.percent(job)),
        error_code=job.error_code,
        fail_reason=job.fail_reason,
    )


def _entities(
    job: Job, parts: list[Job], percent: int
) -> SnapshotEntities | JobEntities | GroupEntities | BatchEntities | ImageEntities:
    about = job.entities
    if parts:
        return BatchEntities(sub_jobs=[_part(part) for part in parts])
    if "image_id" in about:
        return ImageEntities(**about, process_percent=float(percent))
    if GROUP in about:
        return GroupEntities(**about)
    return (SnapshotEntities if "snapshot_id" in about else JobEntities)(**about)


def _part(job: Job) -> SubJob:
    return SubJob(
        job_id=job.id,
        job_type=job.type,
        status=job.status,
        begin_time=_time(job.begin_at),
        end_time=_time(job.end_at) if job.end_at else None,
        entities=JobEntities(**job.entities),
        error_code=job.error_code,
        fail_reason=job.fail_reason,
    )


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds") + "Z"
