"""Metadata of volumes, on Cinder's paths, as EVS publishes them."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Response
from pydantic import Field

from evsd.api.fields import VolumeId
from evsd.api.router import Router, router
from evsd.api.routes import Caller, Model, needs
from evsd.services.evs.errors import EvsRequestInvalid, VolumeMetadataNotFound
from evsd.services.evs.permissions import EvsPermission
from evsd.services.evs.routes.dependencies import UsesEvs
from evsd.services.evs.routes.fields import MetadataKey, MetadataValue
from evsd.services.evs.style import CINDER


class MetadataBody(Model):
    """All metadata of a volume, or what of it is to change."""

    metadata: dict[MetadataKey, MetadataValue]


class MetaBody(Model):
    """One of them."""

    meta: Annotated[dict[MetadataKey, MetadataValue], Field(min_length=1, max_length=1)]


routes: Router = router(CINDER, "Cinder")
V2, V3 = (f"/{version}/{{project_id}}/volumes/{{volume_id}}/metadata" for version in ("v2", "v3"))
SHOWING, UPDATING = needs(EvsPermission.VOLUME_SHOW), needs(EvsPermission.VOLUME_UPDATE)
PathKey = Annotated[MetadataKey, Path()]


@routes.get(V2, **SHOWING)
@routes.get(V3, **SHOWING)
def list_metadata(volume_id: VolumeId, call: Caller, evs: UsesEvs) -> MetadataBody:
    """All metadata of a volume, its key among them."""
    return MetadataBody(metadata=evs.metadata.show(call.project_id, volume_id))


@routes.post(V2, **UPDATING)
@routes.post(V3, **UPDATING)
def add_metadata(
    volume_id: VolumeId, body: MetadataBody, call: Caller, evs: UsesEvs
) -> MetadataBody:
    """Add some, or change them."""
    changed = evs.metadata.change(call.project_id, volume_id, body.metadata)
    return MetadataBody(metadata=changed)


@routes.put(V2, **UPDATING)
@routes.put(V3, **UPDATING)
def reset_metadata(
    volume_id: VolumeId, body: MetadataBody, call: Caller, evs: UsesEvs
) -> MetadataBody:
    """Let a volume have these, and of the service's own those that it has."""
    changed = evs.metadata.change(call.project_id, volume_id, body.metadata, replace=True)
    return MetadataBody(metadata=changed)


@routes.get(f"{V2}/{{key}}", **SHOWING)
@routes.get(f"{V3}/{{key}}", **SHOWING)
def show_metadata(volume_id: VolumeId, key: PathKey, call: Caller, evs: UsesEvs) -> MetaBody:
    """One of them."""
    there = evs.metadata.show(call.project_id, volume_id)
    if key not in there:
        raise VolumeMetadataNotFound(name=volume_id, key=key)
    return MetaBody(meta={key: there[key]})


@routes.put(f"{V2}/{{key}}", **UPDATING)
@routes.put(f"{V3}/{{key}}", **UPDATING)
def change_metadata(
    volume_id: VolumeId, key: PathKey, body: MetaBody, call: Caller, evs: UsesEvs
) -> MetaBody:
    """Change one, or add it."""
    if key not in body.meta:
        raise EvsRequestInvalid(reason=f"the path says {key}, the body another key")
    evs.metadata.change(call.project_id, volume_id, body.meta)
    return body


@routes.delete(f"{V2}/{{key}}", **UPDATING)
@routes.delete(f"{V3}/{{key}}", **UPDATING)
def remove_metadata(volume_id: VolumeId, key: PathKey, call: Caller, evs: UsesEvs) -> Response:
    """Remove one."""
    evs.metadata.remove(call.project_id, volume_id, key)
    return Response()
