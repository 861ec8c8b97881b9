"""Cinder v3 attachments: how a host gets a volume. `connection_info` carries an NBD unix socket."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import Query, Response
from pydantic import AfterValidator, ConfigDict, Field

from evsd.api.fields import MAX_OFFSET
from evsd.api.router import Router, router
from evsd.api.routes import Caller, Model, needs
from evsd.services.evs.attachments import connector
from evsd.services.evs.attachments.attaching import NewAttachment
from evsd.services.evs.attachments.states import SERVING
from evsd.services.evs.errors import EvsRequestInvalid
from evsd.services.evs.permissions import EvsPermission
from evsd.services.evs.routes.dependencies import UsesEvs
from evsd.services.evs.routes.volume_filters import AllTenants, OnceEach
from evsd.services.evs.service import EvsService
from evsd.services.evs.style import CINDER
from evsd.services.evs.tables import Attachment
from evsd.serving.connected_clients import Client

CONNECTOR_LIMIT = 4096


def _short(connector: dict[str, Any]) -> dict[str, Any]:
    if len(json.dumps(connector)) > CONNECTOR_LIMIT:
        raise ValueError(f"longer than {CONNECTOR_LIMIT} characters")
    return connector


Connector = Annotated[dict[str, Any], AfterValidator(_short)]


class WantedAttachment(Model):
    """Create: an empty connector only reserves."""

    volume_uuid: Annotated[str, Field(max_length=64)]
    connector: Connector | None = None
    instance_uuid: Annotated[str, Field(max_length=64)] | None = None
    mode: Literal["rw", "ro"] | None = None


class CreateAttachmentBody(Model):
    """Create."""

    attachment: WantedAttachment


class AttachmentUpdate(Model):
    """Update: the host that takes the volume, or what it made of it."""

    connector: Connector


class UpdateAttachmentBody(Model):
    """Update."""

    attachment: AttachmentUpdate


class ClientView(Model):
    """Who is connected to the server of an attachment: a process, or the host's own device.

    `pid`, `uid` and `connected_at` are null where nobody knows them; `program` is empty for a
    process that has ended and left its connection to another.
    """

    pid: int | None
    uid: int | None
    user: str
    program: str
    device: bool
    access_mode: Literal["rw", "ro"]
    connected_at: str | None


class AttachmentView(Model):
    """An attachment as Cinder shows it, and who attached it and is connected now."""

    id: str
    volume_id: str
    instance: str | None
    status: str
    attach_mode: str
    attached_at: str | None
    detached_at: str | None = None
    connector: Connector
    connection_info: dict[str, Any]
    attached_by: str | None
    clients: list[ClientView]


class AttachmentResponse(Model):
    """Of create, update and show."""

    attachment: AttachmentView


class AttachmentsResponse(Model):
    """Of list."""

    attachments: list[AttachmentView]


class AttachmentsQuery(Model):
    """Filters and pages of the list; none is ignored, see `evs_lists`."""

    model_config = ConfigDict(extra="forbid")

    volume_id: str | None = None
    instance_id: str | None = None
    status: str | None = None
    all_tenants: AllTenants = None
    limit: Annotated[int | None, Field(ge=1, le=1000)] = None
    offset: Annotated[int, Field(ge=0, le=MAX_OFFSET)] = 0

    def of(self, attachments: list[Attachment]) -> list[Attachment]:
        """Those that are wanted."""
        found = [
            attachment
            for attachment in attachments
            if self.volume_id in (None, attachment.volume_id)
            and self.instance_id in (None, attachment.instance)
            and self.status in (None, attachment.status)
        ]
        return found[self.offset :][: self.limit]


class DetachResponse(Model):
    """Of delete: what attachments the volume still has, and who has lost its disk by force."""

    attachments: list[AttachmentView]
    disconnected: list[ClientView]


routes: Router = router(CINDER, "Cinder")
BASE = "/v3/{project_id}/attachments"


@routes.post(BASE, **needs(EvsPermission.VOLUME_ATTACH))
def create_attachment(body: CreateAttachmentBody, call: Caller, evs: UsesEvs) -> AttachmentResponse:
    """Reserve a volume, or attach it when a connector is given."""
    wanted = body.attachment
    attachment = evs.attachments.create(
        call,
        NewAttachment(
            volume_id=wanted.volume_uuid,
            connector=connector.Connector.of(wanted.connector) if wanted.connector else None,
            mode=wanted.mode or "rw",
            instance=wanted.instance_uuid,
        ),
    )
    return AttachmentResponse(attachment=_view(evs, attachment))


@routes.get(BASE, **needs(EvsPermission.ATTACHMENT_SHOW))
@routes.get(f"{BASE}/detail", **needs(EvsPermission.ATTACHMENT_SHOW))
def list_attachments(
    query: Annotated[AttachmentsQuery, Query()],
    _once: OnceEach,
    call: Caller,
    evs: UsesEvs,
) -> AttachmentsResponse:
    """The project's attachments."""
    found = query.of(evs.attachments.list_all(call.project_id))
    return AttachmentsResponse(attachments=[_view(evs, a) for a in found])


@routes.get(f"{BASE}/{{attachment_id}}", **needs(EvsPermission.ATTACHMENT_SHOW))
def show_attachment(attachment_id: str, call: Caller, evs: UsesEvs) -> AttachmentResponse:
    """One attachment."""
    attachment = evs.attachments.show(call.project_id, attachment_id)
    return AttachmentResponse(attachment=_view(evs, attachment))


@routes.put(f"{BASE}/{{attachment_id}}", **needs(EvsPermission.VOLUME_ATTACH))
def update_attachment(
    attachment_id: str, body: UpdateAttachmentBody, call: Caller, evs: UsesEvs
) -> AttachmentResponse:
    """Attach a reserved volume, or note the device of an attached one."""
    wanted = connector.Connector.of(body.attachment.connector)
    attachment = evs.attachments.update(call, attachment_id, wanted)
    return AttachmentResponse(attachment=_view(evs, attachment))


@routes.post(
    f"{BASE}/{{attachment_id}}/action", status_code=204, **needs(EvsPermission.VOLUME_ATTACH)
)
def act_on_attachment(
    attachment_id: str, body: dict[str, Any], call: Caller, evs: UsesEvs
) -> Response:
    """Complete: the host has its device."""
    if list(body) != ["os-complete"]:
        raise EvsRequestInvalid(reason="the only action on an attachment is os-complete")
    evs.attachments.complete(call, attachment_id)
    return Response(status_code=204)


@routes.delete(f"{BASE}/{{attachment_id}}", **needs(EvsPermission.VOLUME_DETACH))
def delete_attachment(
    attachment_id: str,
    call: Caller,
    evs: UsesEvs,
    force: Annotated[bool, Query(description="Also when somebody is connected.")] = False,
) -> DetachResponse:
    """Detach: the server flushes, wipes its key and ends.

    Refused (EVS.2068) while somebody is connected: `force=true` takes the disk away from them.
    """
    volume_id = evs.attachments.show(call.project_id, attachment_id).volume_id
    losers = evs.attachments.detach(call, attachment_id, force=force)
    left = evs.attachments.list_all(call.project_id, volume_id)
    return DetachResponse(
        attachments=[_view(evs, a) for a in left],
        disconnected=[_client_view(client) for client in losers],
    )


def _view(evs: EvsService, attachment: Attachment) -> AttachmentView:
    serving = attachment.status in SERVING
    socket = evs.attachments.socket_path(attachment.id)
    return AttachmentView(
        id=attachment.id,
        volume_id=attachment.volume_id,
        instance=attachment.instance,
        status=attachment.status,
        attach_mode=attachment.mode,
        attached_at=attachment.attached_at.isoformat() if attachment.attached_at else None,
        connector=dict(attachment.connector.given),
        connection_info=_connection(socket, attachment) if serving else {},
        attached_by=attachment.attached_by,
        clients=[_client_view(client) for client in evs.attachments.clients(attachment)],
    )


def _client_view(client: Client) -> ClientView:
    return ClientView(
        pid=client.pid,
        uid=client.uid,
        user=client.user,
        program=client.program,
        device=client.device,
        access_mode="rw" if client.writes else "ro",
        connected_at=client.since.isoformat() if client.since else None,
    )


def _connection(socket: Path, attachment: Attachment) -> dict[str, Any]:
    return {
        "driver_volume_type": "nbd",
        "data": {
            "transport": "unix",
            "socket": str(socket),
            "uri": f"nbd+unix:///?socket={socket}",
            "access_mode": attachment.mode,
            "encrypted": True,
        },
    }
