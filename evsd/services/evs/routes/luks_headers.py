"""Headers of volumes, backed up and put back. Not published: a path of our own beside Cinder's."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer

from evsd.api.fields import VolumeId
from evsd.api.router import Router, router
from evsd.api.routes import Caller, Model, needs
from evsd.services.evs.permissions import EvsPermission
from evsd.services.evs.routes.dependencies import UsesEvs
from evsd.services.evs.routes.volume_views import show_view
from evsd.services.evs.routes.volumes import ShowVolumeResponse
from evsd.services.evs.style import CINDER
from evsd.services.evs.volumes.luks_headers import BACKUP_LENGTH


def _decoded(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("text is expected")
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise ValueError("it is not base64") from error


Backup = Annotated[
    bytes,
    Field(max_length=BACKUP_LENGTH),
    BeforeValidator(_decoded, json_schema_input_type=str),
    PlainSerializer(lambda data: base64.b64encode(data).decode(), return_type=str),
]


class HeaderBackup(Model):
    """The first MiB of a volume's file, in base64."""

    data: Backup


class HeaderBody(Model):
    """Restore, and what backup answers."""

    header: HeaderBackup


routes: Router = router(CINDER, "Headers")
PATH = "/v3/{project_id}/volumes/{volume_id}/header"


@routes.get(PATH, **needs(EvsPermission.HEADER_BACKUP))
def back_up_header(volume_id: VolumeId, call: Caller, evs: UsesEvs) -> HeaderBody:
    """The volume's header, for the day when its disk loses it; the data key in it is wrapped."""
    area = evs.headers.backup(call, volume_id)
    return HeaderBody.model_construct(header=HeaderBackup.model_construct(data=area))


@routes.put(PATH, **needs(EvsPermission.HEADER_RESTORE))
def restore_header(
    volume_id: VolumeId, body: HeaderBody, call: Caller, evs: UsesEvs
) -> ShowVolumeResponse:
    """Put a backup back, whatever is there now. The volume must be available."""
    volume = evs.headers.restore(call, volume_id, body.header.data)
    return ShowVolumeResponse(volume=show_view(call, evs, volume.id))
