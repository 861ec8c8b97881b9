"""EVS API: volumes on the published paths; lists are in `volume_lists`."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated

from fastapi import Header, Request, Response
from pydantic import Field

from evsd.api.fields import UUID_PATTERN, VolumeId
from evsd.api.router import Router, router
from evsd.api.routes import Caller, Model, needs
from evsd.services.evs.errors import ClientTokenInvalid, EvsRequestInvalid
from evsd.services.evs.limits import GIB
from evsd.services.evs.permissions import EvsPermission
from evsd.services.evs.routes.dependencies import UsesEvs
from evsd.services.evs.routes.fields import Description, SizeGib, VolumeName
from evsd.services.evs.routes.volume_bodies import WantedVolume
from evsd.services.evs.routes.volume_views import VolumeView, show_view
from evsd.services.evs.service import EvsService
from evsd.services.evs.style import EVS
from evsd.services.evs.volumes.client_tokens import RequestToken
from evsd.space import in_words


class CreateVolumeBody(Model):
    """Create. `server_id` would attach it too, which is done on its host: see `attachments`."""

    volume: WantedVolume
    server_id: str | None = None


class VolumeChanges(Model):
    """What update can change."""

    name: VolumeName | None = None
    description: Description | None = None


class UpdateVolumeBody(Model):
    """Update."""

    volume: VolumeChanges


class NewSize(Model):
    """How large a volume is to be, in GiB."""

    new_size: SizeGib


class ExtendVolumeBody(Model):
    """Extend, the one action on a volume."""

    os_extend: Annotated[NewSize, Field(alias="os-extend")]


class NewType(Model):
    """Which type a volume is to have. It guarantees nothing, so iops and throughput are refused."""

    new_type: Annotated[str, Field(max_length=64)]
    iops: None = None
    throughput: None = None


class RetypeVolumeBody(Model):
    """Retype."""

    os_retype: Annotated[NewType, Field(alias="os-retype")]


class JobAnswer(Model):
    """Of create, extend and delete: poll the job. `warning` is not of the published fields."""

    job_id: str
    volume_ids: list[str] | None = None
    warning: str | None = None


class ShowVolumeResponse(Model):
    """Of show."""

    volume: VolumeView


routes: Router = router(EVS, "EVS")
CREATING = {**needs(EvsPermission.VOLUME_CREATE), "response_model_exclude_none": True}
EXTENDING = {**needs(EvsPermission.VOLUME_EXTEND), "response_model_exclude_none": True}
RETYPING = {
    **needs(EvsPermission.VOLUME_RETYPE),
    "status_code": 202,
    "response_model_exclude_none": True,
}
DELETING = {**needs(EvsPermission.VOLUME_DELETE), "response_model_exclude_none": True}


@routes.post("/v2/{project_id}/cloudvolumes", **CREATING)
@routes.post("/v2.1/{project_id}/cloudvolumes", **CREATING)
def create_volume(
    body: CreateVolumeBody,
    request: Request,
    call: Caller,
    evs: UsesEvs,
    x_client_token: Annotated[str | None, Header()] = None,
) -> JobAnswer:
    """Make one encrypted volume, or `count`; without encryption fields under the default key.

    A request that is repeated with its `X-Client-Token`, a UUID, makes nothing again: within 8
    hours it gets the answer that the first one got.
    """
    wanted, count = body.volume, body.volume.count
    if body.server_id is not None:
        raise EvsRequestInvalid(reason="server_id: attach the volume when it is there")
    new = wanted.new_volume
    warning = None if new.thick else _overcommitted(evs, new.name or "", new.size_gib * count)
    job = evs.new_volumes.create(call, new, count, _token(x_client_token, request, body))
    ids = evs.volumes.ids_of(job) if wanted.tells_ids else None
    return JobAnswer(job_id=job.id, volume_ids=ids, warning=warning)


@routes.post(
    "/v2/{project_id}/cloudvolumes/check", status_code=204, **needs(EvsPermission.VOLUME_CREATE)
)
def check_volume(body: CreateVolumeBody, call: Caller, evs: UsesEvs) -> Response:
    """What create would refuse, in a dry run: bad fields, a name that is taken, a quota.

    Not a published operation. Nothing is made, and the key is not asked for.
    """
    evs.new_volumes.check(call.project_id, body.volume.new_volume, body.volume.count)
    return Response(status_code=204)


@routes.get("/v2/{project_id}/cloudvolumes/{volume_id}", **needs(EvsPermission.VOLUME_SHOW))
@routes.get("/v2/{project_id}/os-vendor-volumes/{volume_id}", **needs(EvsPermission.VOLUME_SHOW))
def show_volume(volume_id: VolumeId, call: Caller, evs: UsesEvs) -> ShowVolumeResponse:
    """One volume."""
    return ShowVolumeResponse(volume=show_view(call, evs, volume_id))


@routes.put("/v2/{project_id}/cloudvolumes/{volume_id}", **needs(EvsPermission.VOLUME_UPDATE))
def update_volume(
    volume_id: VolumeId, body: UpdateVolumeBody, call: Caller, evs: UsesEvs
) -> VolumeView:
    """Change name or description; the answer is the volume itself, as published."""
    changes = body.volume
    evs.volumes.update(call.project_id, volume_id, changes.name, changes.description)
    return show_view(call, evs, volume_id)


@routes.post("/v2/{project_id}/cloudvolumes/{volume_id}/action", **EXTENDING)
@routes.post("/v2.1/{project_id}/cloudvolumes/{volume_id}/action", **EXTENDING)
def extend_volume(
    volume_id: VolumeId, body: ExtendVolumeBody, call: Caller, evs: UsesEvs
) -> JobAnswer:
    """Make a volume larger; `warning` tells of clients of an attached one that can't be told."""
    volume, size_gib = evs.volumes.show(call.project_id, volume_id), body.os_extend.new_size
    job = evs.volumes.extend(call.project_id, volume_id, size_gib)
    warnings = [_overcommitted(evs, volume.name, size_gib) if volume.thin else None]
    warnings.append(evs.attachments.tell_size(call, evs.volumes.show(call.project_id, volume_id)))
    return JobAnswer(job_id=job.id, warning="; ".join(filter(None, warnings)) or None)


@routes.post("/v2/{project_id}/volumes/{volume_id}/retype", **RETYPING)
def retype_volume(
    volume_id: VolumeId, body: RetypeVolumeBody, call: Caller, evs: UsesEvs
) -> JobAnswer:
    """Give a volume a higher type, attached or not."""
    job = evs.volumes.retype(call.project_id, volume_id, body.os_retype.new_type)
    return JobAnswer(job_id=job.id)


@routes.delete("/v2/{project_id}/cloudvolumes/{volume_id}", **DELETING)
def delete_volume(volume_id: VolumeId, call: Caller, evs: UsesEvs) -> JobAnswer:
    """Destroy a volume and the wrapped key with it."""
    return JobAnswer(job_id=evs.volumes.delete(call.project_id, volume_id).id)


def _token(value: str | None, request: Request, body: CreateVolumeBody) -> RequestToken | None:
    if value is None:
        return None
    if not re.fullmatch(UUID_PATTERN, value.lower()):
        raise ClientTokenInvalid(value=value[:64])
    asked = json.dumps([request.url.path, body.model_dump(mode="json")], sort_keys=True)
    return RequestToken(value.lower(), hashlib.sha256(asked.encode()).hexdigest())


def _overcommitted(evs: EvsService, name: str, size_gib: int) -> str | None:
    """What to say of thin volumes that can't become full in the pool as it is now."""
    pool = evs.host.space.pool()
    if pool is None or not pool.space.total or size_gib * GIB <= pool.space.free:
        return None
    return (
        f"volume {name} is thin and has {size_gib} GiB, its pool has {in_words(pool.space.free)} "
        "free: when that is used up, its writes fail"
    )
