"""EVS API: volumes and jobs, on the published paths; lists are in `evs_lists`."""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Annotated

from fastapi import Response
from pydantic import AfterValidator, BeforeValidator, Field

from evsd.api.fields import UUID_PATTERN, VolumeId, microseconds, printable
from evsd.api.router import Router, router
from evsd.api.routes import Caller, Model, needs
from evsd.key_channel.call import Call
from evsd.services.evs.attachments.health import device_state
from evsd.services.evs.errors import (
    EvsFieldInvalid,
    EvsRequestInvalid,
    VolumeEncryptionInvalid,
    VolumeUpdateEmpty,
)
from evsd.services.evs.limits import GIB, MAX_SIZE_GIB
from evsd.services.evs.permissions import EvsPermission
from evsd.services.evs.routes.dependencies import UsesEvs
from evsd.services.evs.service import EvsService
from evsd.services.evs.style import EVS
from evsd.services.evs.tables import Attachment, Volume
from evsd.services.evs.volumes.creation import NewVolume
from evsd.space import Level, in_words

ENCRYPTED, CMK_ID = "__system__encrypted", "__system__cmkid"
# The published create has no field for it; metadata is where the cloud puts such things too
# (hw:passthrough, full_clone).
OURS = "evsd:"
PROVISIONING, THIN, THICK = f"{OURS}provisioning", "thin", "thick"
SERVER, DEVICE = f"{OURS}server", f"{OURS}device"
ACCESS_MODE, ATTACHED_BY, CLIENTS = f"{OURS}access_mode", f"{OURS}attached_by", f"{OURS}clients"
POOL, POOL_DIRECTORY = f"{OURS}pool", f"{OURS}pool_directory"
VOLUME_TYPES = frozenset({"SATA", "SAS", "GPSSD", "SSD", "ESSD", "GPSSD2", "ESSD2"})


def _whole_gib(value: object) -> object:
    """10.0 and 1e1 are whole numbers in JSON too; text and true are none, and 1.5 isn't cut off."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("not a number")
    if not math.isfinite(value) or value != int(value):
        raise ValueError("not a whole number")
    return int(value)


def _name(value: str) -> str:
    if value != value.strip():
        raise ValueError("it begins or ends with a space")
    if re.fullmatch(UUID_PATTERN, value):
        raise ValueError("it could be taken for an id")
    return printable(value)


def _known_type(value: str) -> str:
    if value not in VOLUME_TYPES:
        raise ValueError(f"one of {', '.join(sorted(VOLUME_TYPES))}")
    return value


VolumeName = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_name)]
Description = Annotated[str, Field(max_length=255), AfterValidator(printable)]
SizeGib = Annotated[int, BeforeValidator(_whole_gib), Field(ge=1, le=MAX_SIZE_GIB)]


class WantedVolume(Model):
    """What create asks for. Metadata `evsd:provisioning` is ``thin`` (default) or ``thick``."""

    name: VolumeName
    size: SizeGib
    volume_type: Annotated[str, AfterValidator(_known_type)] = "SSD"
    availability_zone: Annotated[str, Field(min_length=1, max_length=64)] = "local"
    description: Description | None = None
    metadata: dict[str, str] | None = None
    tags: dict[str, str] | None = None
    count: int = 1
    snapshot_id: str | None = None
    image_ref: Annotated[str | None, Field(alias="imageRef")] = None
    backup_id: str | None = None
    multiattach: bool = False


class CreateVolumeBody(Model):
    """Create."""

    volume: WantedVolume


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


class JobAnswer(Model):
    """Of create, extend and delete: poll the job. `warning` is not of the published fields."""

    job_id: str
    warning: str | None = None


class AttachmentOfVolume(Model):
    """How a volume shows its attachment."""

    attachment_id: str
    id: str
    volume_id: str
    server_id: str
    device: str
    host_name: str
    attached_at: str


class VolumeView(Model):
    """A volume as published."""

    id: str
    name: str
    description: str
    status: str
    size: int
    volume_type: str
    availability_zone: str
    metadata: dict[str, str]
    tags: dict[str, str]
    attachments: list[AttachmentOfVolume]
    encrypted: bool = True
    bootable: str = "false"
    shareable: str = "false"
    multiattach: bool = False
    snapshot_id: str | None = None
    source_volid: str | None = None
    user_id: str
    tenant_id: Annotated[str, Field(alias="os-vol-tenant-attr:tenant_id")]
    links: list[dict[str, str]]
    created_at: str
    updated_at: str
    service_type: str = "EVS"
    wwn: str
    enterprise_project_id: str = "0"


class ShowVolumeResponse(Model):
    """Of show."""

    volume: VolumeView


class JobEntities(Model):
    """What a job is about."""

    volume_id: str
    volume_type: str
    size: int
    name: str


class ShowJobResponse(Model):
    """Of show job. `progress` is in percent, and not of the published fields."""

    job_id: str
    job_type: str
    status: str
    progress: int
    begin_time: str
    end_time: str | None
    entities: JobEntities
    error_code: str | None
    fail_reason: str | None


routes: Router = router(EVS, "EVS")
CREATING = {**needs(EvsPermission.VOLUME_CREATE), "response_model_exclude_none": True}
EXTENDING = {**needs(EvsPermission.VOLUME_EXTEND), "response_model_exclude_none": True}
DELETING = {**needs(EvsPermission.VOLUME_DELETE), "response_model_exclude_none": True}


@routes.post("/v2/{project_id}/cloudvolumes", **CREATING)
@routes.post("/v2.1/{project_id}/cloudvolumes", **CREATING)
def create_volume(body: CreateVolumeBody, call: Caller, evs: UsesEvs) -> JobAnswer:
    """Make an encrypted volume; without encryption fields under the project's default key."""
    wanted = _wanted(body.volume)
    warning = None if wanted.thick else _overcommitted(evs, wanted.name, wanted.size_gib)
    job = evs.volumes.create(call, wanted)
    return JobAnswer(job_id=job.id, warning=warning)


@routes.post(
    "/v2/{project_id}/cloudvolumes/check", status_code=204, **needs(EvsPermission.VOLUME_CREATE)
)
def check_volume(body: CreateVolumeBody, call: Caller, evs: UsesEvs) -> Response:
    """What create would refuse, in a dry run: bad fields, a name that is taken, a quota.

    Not a published operation. Nothing is made, and the key is not asked for.
    """
    evs.volumes.check(call.project_id, _wanted(body.volume))
    return Response(status_code=204)


@routes.get("/v2/{project_id}/cloudvolumes/{volume_id}", **needs(EvsPermission.VOLUME_SHOW))
def show_volume(volume_id: VolumeId, call: Caller, evs: UsesEvs) -> ShowVolumeResponse:
    """One volume."""
    return ShowVolumeResponse(volume=show_view(call, evs, volume_id))


@routes.put("/v2/{project_id}/cloudvolumes/{volume_id}", **needs(EvsPermission.VOLUME_UPDATE))
def update_volume(
    volume_id: VolumeId, body: UpdateVolumeBody, call: Caller, evs: UsesEvs
) -> VolumeView:
    """Change name or description; the answer is the volume itself, as published."""
    changes = body.volume
    if changes.name is None and changes.description is None:
        raise VolumeUpdateEmpty()
    evs.volumes.update(call.project_id, volume_id, changes.name, changes.description)
    return show_view(call, evs, volume_id)


@routes.post("/v2/{project_id}/cloudvolumes/{volume_id}/action", **EXTENDING)
@routes.post("/v2.1/{project_id}/cloudvolumes/{volume_id}/action", **EXTENDING)
def extend_volume(
    volume_id: VolumeId, body: ExtendVolumeBody, call: Caller, evs: UsesEvs
) -> JobAnswer:
    """Make a volume larger. It must be available: the clients of an attached one see one size."""
    volume, size_gib = evs.volumes.show(call.project_id, volume_id), body.os_extend.new_size
    job = evs.volumes.extend(call.project_id, volume_id, size_gib)
    warning = _overcommitted(evs, volume.name, size_gib) if volume.thin else None
    return JobAnswer(job_id=job.id, warning=warning)


@routes.delete("/v2/{project_id}/cloudvolumes/{volume_id}", **DELETING)
def delete_volume(volume_id: VolumeId, call: Caller, evs: UsesEvs) -> JobAnswer:
    """Destroy a volume and the wrapped key with it."""
    return JobAnswer(job_id=evs.volumes.delete(call.project_id, volume_id).id)


@routes.get("/v1/{project_id}/jobs/{job_id}", **needs(EvsPermission.JOB_SHOW))
def show_job(job_id: str, call: Caller, evs: UsesEvs) -> ShowJobResponse:
    """How a create, extend or delete goes, or went."""
    job = evs.volumes.job(call.project_id, job_id)
    return ShowJobResponse(
        job_id=job.id,
        job_type=job.type,
        status=job.status,
        progress=evs.host.jobs.percent(job),
        begin_time=_job_time(job.begin_at),
        end_time=_job_time(job.end_at) if job.end_at else None,
        entities=JobEntities(**job.entities),
        error_code=job.error_code,
        fail_reason=job.fail_reason,
    )


def _wanted(volume: WantedVolume) -> NewVolume:
    unsupported = {
        "count": volume.count != 1,
        "snapshot_id": volume.snapshot_id is not None,
        "imageRef": volume.image_ref is not None,
        "backup_id": volume.backup_id is not None,
        "multiattach": volume.multiattach,
    }
    refused = [name for name, given in unsupported.items() if given]
    if refused:
        raise EvsRequestInvalid(
            reason=f"{', '.join(refused)} is not supported by this version of evsd"
        )
    metadata = dict(volume.metadata or {})
    if metadata.pop(ENCRYPTED, "1") != "1":
        raise VolumeEncryptionInvalid(reason=f'{ENCRYPTED} can only be "1"')
    cmk_id = metadata.pop(CMK_ID, None)
    if cmk_id is not None and not re.fullmatch(UUID_PATTERN.rstrip("$"), cmk_id):
        raise VolumeEncryptionInvalid(reason=f"{CMK_ID} {cmk_id[:64]!r} is not a key id")
    provisioning = metadata.pop(PROVISIONING, THIN)
    if provisioning not in (THIN, THICK):
        raise EvsFieldInvalid(field=PROVISIONING, value=provisioning[:64], reason="thin or thick")
    # What else of ours is in it was copied from another volume, and is not to be believed.
    metadata = {name: text for name, text in metadata.items() if not name.startswith(OURS)}
    return NewVolume(
        name=volume.name,
        size_gib=volume.size,
        thick=provisioning == THICK,
        description=volume.description or "",
        volume_type=volume.volume_type,
        availability_zone=volume.availability_zone,
        cmk_id=cmk_id,
        metadata=metadata,
        tags=volume.tags or {},
    )


def show_view(call: Call, evs: EvsService, volume_id: str) -> VolumeView:
    """One volume as published; its metadata says who attached it and how, and what that is like.

    And what its pool is like, where that is not as it should be.
    """
    volume = evs.volumes.show(call.project_id, volume_id)
    attachments = evs.attachments.list_all(call.project_id, volume.id)
    shown = view(volume, attachments)
    for attachment in attachments:
        clients = evs.attachments.clients(attachment)
        looked = {
            SERVER: evs.attachments.server_state(attachment),
            DEVICE: device_state(attachment),
            ACCESS_MODE: attachment.mode,
            ATTACHED_BY: attachment.attached_by,
            CLIENTS: "; ".join(str(client) for client in clients) or None,
        }
        shown.metadata |= {name: str(state) for name, state in looked.items() if state is not None}
    pool = evs.host.space.pool()
    if pool is not None and pool.level != Level.OK:
        shown.metadata |= {POOL: str(pool.level), POOL_DIRECTORY: str(pool.directory)}
    return shown


def _overcommitted(evs: EvsService, name: str, size_gib: int) -> str | None:
    """What to say of a thin volume that can't become full in the pool as it is now."""
    pool = evs.host.space.pool()
    if pool is None or not pool.space.total or size_gib * GIB <= pool.space.free:
        return None
    return (
        f"volume {name} is thin and has {size_gib} GiB, its pool has {in_words(pool.space.free)} "
        "free: when that is used up, its writes fail"
    )


def view(volume: Volume, attachments: list[Attachment]) -> VolumeView:
    """One volume as a list shows it: by its records alone."""
    return VolumeView(
        id=volume.id,
        name=volume.name,
        description=volume.description,
        status=volume.status,
        size=volume.size_gib,
        volume_type=volume.volume_type,
        availability_zone=volume.availability_zone,
        metadata=metadata_of(volume),
        tags=volume.tags,
        attachments=[_attachment(a) for a in attachments],
        user_id=volume.user_id,
        tenant_id=volume.project_id,
        links=[{"rel": "self", "href": f"/v2/{volume.project_id}/cloudvolumes/{volume.id}"}],
        created_at=microseconds(volume.created_at),
        updated_at=microseconds(volume.updated_at),
        wwn=volume.id.replace("-", ""),
    )


def metadata_of(volume: Volume) -> dict[str, str]:
    """What its metadata tells of a volume, attached or not."""
    return {
        **volume.extra_metadata,
        ENCRYPTED: "1",
        CMK_ID: volume.cmk_id,
        PROVISIONING: THIN if volume.thin else THICK,
    }


def _attachment(attachment: Attachment) -> AttachmentOfVolume:
    return AttachmentOfVolume(
        attachment_id=attachment.id,
        id=attachment.volume_id,
        volume_id=attachment.volume_id,
        server_id=attachment.instance or "",
        device=attachment.connector.mountpoint,
        host_name=attachment.connector.host,
        attached_at=microseconds(attachment.attached_at) if attachment.attached_at else "",
    )


def _job_time(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds") + "Z"
