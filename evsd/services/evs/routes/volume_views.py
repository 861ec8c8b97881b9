"""Volumes as EVS and Cinder show them: in lists by their records, one by itself as it is now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from evsd.api.fields import microseconds
from evsd.api.routes import Model
from evsd.key_channel.call import Call
from evsd.services.evs.attachments.health import device_state
from evsd.services.evs.service import EvsService
from evsd.services.evs.tables import Attachment, Volume
from evsd.services.evs.volumes.metadata import OURS, metadata_of
from evsd.space import Level

SERVER, DEVICE = f"{OURS}server", f"{OURS}device"
ACCESS_MODE, ATTACHED_BY, CLIENTS = f"{OURS}access_mode", f"{OURS}attached_by", f"{OURS}clients"
POOL, POOL_DIRECTORY = f"{OURS}pool", f"{OURS}pool_directory"


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
    snapshot_id: str | None
    source_volid: str | None = None
    user_id: str
    tenant_id: Annotated[str, Field(alias="os-vol-tenant-attr:tenant_id")]
    links: list[dict[str, str]]
    created_at: str
    updated_at: str
    service_type: str = "EVS"
    wwn: str
    enterprise_project_id: str = "0"


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


def views(evs: EvsService, project_id: str, volumes: Sequence[Volume]) -> list[VolumeView]:
    """Several volumes of a project, as a list shows them."""
    attached: dict[str, list[Attachment]] = defaultdict(list)
    for attachment in evs.attachments.list_all(project_id):
        attached[attachment.volume_id].append(attachment)
    return [view(volume, attached[volume.id]) for volume in volumes]


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
        snapshot_id=volume.snapshot_id,
        user_id=volume.user_id,
        tenant_id=volume.project_id,
        links=[{"rel": "self", "href": f"/v2/{volume.project_id}/cloudvolumes/{volume.id}"}],
        created_at=microseconds(volume.created_at),
        updated_at=microseconds(volume.updated_at),
        wwn=volume.id.replace("-", ""),
    )


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
