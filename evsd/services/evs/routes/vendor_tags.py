"""Tags of volumes one by one, on the older published paths: a tag is `{key: value}` there."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Response
from pydantic import Field

from evsd.api.fields import VolumeId
from evsd.api.router import Router, router
from evsd.api.routes import Caller, Model, needs
from evsd.services.evs.errors import VolumeTagInvalid, VolumeTagNotFound
from evsd.services.evs.permissions import EvsPermission
from evsd.services.evs.routes.dependencies import UsesEvs
from evsd.services.evs.routes.fields import TagKey, Tags
from evsd.services.evs.routes.tags import ProjectTagsResponse, project_tags
from evsd.services.evs.style import CINDER


class TagsBody(Model):
    """Add or reset tags, and what those answer."""

    tags: Tags


class TagBody(Model):
    """Change one tag, and what that answers."""

    tag: Annotated[Tags, Field(min_length=1, max_length=1)]


routes: Router = router(CINDER, "EVS")
KIND = "/v2/{project_id}/os-vendor-tags/volumes"
VOLUME, ONE = f"{KIND}/{{volume_id}}", f"{KIND}/{{volume_id}}/{{key}}"
READING = needs(EvsPermission.VOLUME_TAG_SHOW)
CHANGING = needs(EvsPermission.VOLUME_TAG_UPDATE)
PathKey = Annotated[TagKey, Path()]


@routes.get(KIND, **needs(EvsPermission.VOLUME_TAG_LIST))
def tags_of_project(call: Caller, evs: UsesEvs) -> ProjectTagsResponse:
    """All tags of the project's volumes."""
    return project_tags(call, evs)


@routes.get(VOLUME, **READING)
def show_tags(volume_id: VolumeId, call: Caller, evs: UsesEvs) -> TagsBody:
    """All tags of a volume."""
    return TagsBody(tags=evs.tags.show(call.project_id, volume_id))


@routes.post(VOLUME, **CHANGING)
def add_tags(volume_id: VolumeId, body: TagsBody, call: Caller, evs: UsesEvs) -> TagsBody:
    """Add tags, or change their values."""
    evs.tags.add(call.project_id, volume_id, body.tags)
    return body


@routes.put(VOLUME, **CHANGING)
def reset_tags(volume_id: VolumeId, body: TagsBody, call: Caller, evs: UsesEvs) -> TagsBody:
    """Let a volume have these tags, and no others."""
    evs.tags.add(call.project_id, volume_id, body.tags, replace=True)
    return body


@routes.get(ONE, **READING)
def show_tag(volume_id: VolumeId, key: PathKey, call: Caller, evs: UsesEvs) -> TagBody:
    """One tag of a volume."""
    tags = evs.tags.show(call.project_id, volume_id)
    if key not in tags:
        raise VolumeTagNotFound(name=volume_id, tag=key)
    return TagBody(tag={key: tags[key]})


@routes.put(ONE, **CHANGING)
def change_tag(
    volume_id: VolumeId, key: PathKey, body: TagBody, call: Caller, evs: UsesEvs
) -> TagBody:
    """Change the value of a tag, or add it."""
    if key not in body.tag:
        raise VolumeTagInvalid(reason=f"the path says {key}, the body another key")
    evs.tags.add(call.project_id, volume_id, body.tag)
    return body


@routes.delete(ONE, **CHANGING)
def remove_tag(volume_id: VolumeId, key: PathKey, call: Caller, evs: UsesEvs) -> Response:
    """Remove one tag."""
    evs.tags.remove(call.project_id, volume_id, [key])
    return Response()
