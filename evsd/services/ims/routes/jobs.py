"""Jobs of images on IMS's own path; on the one of all services they are in EVS."""

from __future__ import annotations

from typing import Any

from evsd.api.router import Router, router
from evsd.api.routes import Caller, Model, needs
from evsd.services.ims.permissions import ImsPermission
from evsd.services.ims.routes.dependencies import UsesIms
from evsd.services.ims.style import IMS


class ImageJobResponse(Model):
    """Of show job; `process_percent`, among the entities, is how far it is."""

    job_id: str
    job_type: str
    status: str
    begin_time: str
    end_time: str | None
    entities: dict[str, Any]
    error_code: str | None
    fail_reason: str | None


routes: Router = router(IMS, "IMS")


@routes.get("/v1/cloudimages/job/{job_id}", **needs(ImsPermission.IMAGE_JOB_SHOW))
def show_image_job(job_id: str, call: Caller, ims: UsesIms) -> ImageJobResponse:
    """How making, copying or deleting an image goes, or went."""
    job = ims.library.job(call.project_id, job_id)
    percent = float(ims.host.jobs.percent(job))
    return ImageJobResponse(
        job_id=job.id,
        job_type=job.type,
        status=job.status,
        begin_time=f"{job.begin_at.isoformat(timespec='milliseconds')}Z",
        end_time=f"{job.end_at.isoformat(timespec='milliseconds')}Z" if job.end_at else None,
        entities={**job.entities, "process_percent": percent},
        error_code=job.error_code,
        fail_reason=job.fail_reason,
    )
