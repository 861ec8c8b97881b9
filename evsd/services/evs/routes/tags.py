"""Tags of volumes, as EVS publishes them: of a volume, of a project, and volumes by their tags.

`os-vendor-volumes` is `cloudvolumes` under its other published name. One tag by its key is in
`vendor_tags`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Response
from pydantic import AfterValidator, Field

from evsd.api.fields import MAX_OFFSET, VolumeId
from evsd.api.router import Router, router
from evsd.api.routes import Caller, Model, needs
from evsd.services.evs.lists import Page
from evsd.services.evs.permissions import EvsPermission
from evsd.services.evs.routes.dependencies import UsesEvs
from evsd.services.evs.routes.fields import TagKey, TagValue
from evsd.services.evs.routes.volume_views import VolumeView, views
from evsd.services.evs.style import EVS
from evsd.services.evs.tables import Volume
from evsd.services.evs.volumes.listing import Filters

VOLUMES, ALIAS = "/v2/{project_id}/cloudvolumes", "/v2/{project_id}/os-vendor-volumes"
# More than the 10 that are published: tags of a volume and filters by them alike.
FILTERS = 20


class Tag(Model):
    """A tag."""

    key: str
    value: str


class VolumeTagsResponse(Model):
    """The tags of a volume."""

    tags: list[Tag]


class ProjectTagsResponse(Model):
    """All tags of a project's volumes, each with its values."""

    tags: dict[str, list[str]]


class WantedTag(Model):
    """A tag to add; of one to remove the key counts."""

    key: TagKey
    value: TagValue = ""


def _once(tags: list[WantedTag]) -> list[WantedTag]:
    if len({tag.key for tag in tags}) < len(tags):
        raise ValueError("a key is there more than once")
    return tags


class TagsActionBody(Model):
    """Add or remove tags."""

    action: Literal["create", "delete"]
    tags: Annotated[list[WantedTag], Field(min_length=1, max_length=FILTERS), AfterValidator(_once)]


class TagFilter(Model):
    """A tag and the values that will do; none listed: any."""

    key: Annotated[str, Field(max_length=255)]
    values: Annotated[list[str], Field(default_factory=list, max_length=100)]


class Match(Model):
    """A part of a volume's name, or its service, which is EVS."""

    key: Literal["resource_name", "service_type"]
    value: Annotated[str, Field(max_length=255)]

    def fits(self, volume: Volume) -> bool:
        """Whether a volume is like this."""
        if self.key == "service_type":
            return self.value.upper() == "EVS"
        return self.value in volume.name


class VolumesByTagsBody(Model):
    """Volumes by tags."""

    action: Literal["filter", "count"]
    tags: Annotated[list[TagFilter], Field(default_factory=list, max_length=FILTERS)]
    matches: Annotated[list[Match], Field(default_factory=list, max_length=FILTERS)]
    limit: Annotated[int, Field(ge=1, le=1000)] = 1000
    offset: Annotated[int, Field(ge=0, le=MAX_OFFSET)] = 0

    def match(self, volume: Volume) -> bool:
        """Whether a volume has all these tags, and a name with all these parts."""
        return all(
            tag.key in volume.tags and (not tag.values or volume.tags[tag.key] in tag.values)
            for tag in self.tags
        ) and all(match.fits(volume) for match in self.matches)


class TaggedVolume(Model):
    """A volume and its tags."""

    resource_id: str
    resource_name: str
    resource_detail: VolumeView
    tags: list[Tag]


class VolumesByTagsResponse(Model):
    """Volumes by tags; only the count for action "count"."""

    total_count: int
    resources: list[TaggedVolume]


routes: Router = router(EVS, "EVS")
READS = needs(EvsPermission.VOLUME_TAG_SHOW)
CHANGES: dict[str, Any] = {"status_code": 204, **needs(EvsPermission.VOLUME_TAG_CREATE)}


@routes.get(f"{VOLUMES}/tags", **needs(EvsPermission.VOLUME_TAG_LIST))
@routes.get(f"{ALIAS}/tags", **needs(EvsPermission.VOLUME_TAG_LIST))
def project_tags(call: Caller, evs: UsesEvs) -> ProjectTagsResponse:
    """All tags of the project's volumes."""
    return ProjectTagsResponse(tags=evs.tags.of_project(call.project_id))


@routes.get(f"{VOLUMES}/{{volume_id}}/tags", **READS)
@routes.get(f"{ALIAS}/{{volume_id}}/tags", **READS)
def volume_tags(volume_id: VolumeId, call: Caller, evs: UsesEvs) -> VolumeTagsResponse:
    """The tags of one volume."""
    return VolumeTagsResponse(tags=_tags(evs.tags.show(call.project_id, volume_id)))


@routes.post(f"{VOLUMES}/{{volume_id}}/tags/action", **CHANGES)
@routes.post(f"{ALIAS}/{{volume_id}}/tags/action", **CHANGES)
def change_tags(volume_id: VolumeId, body: TagsActionBody, call: Caller, evs: UsesEvs) -> Response:
    """Add or remove several tags; all or none."""
    if body.action == "create":
        wanted = {tag.key: tag.value for tag in body.tags}
        evs.tags.add(call.project_id, volume_id, wanted)
    else:
        evs.tags.remove(call.project_id, volume_id, [tag.key for tag in body.tags])
    return Response(status_code=204)


@routes.post(f"{VOLUMES}/resource_instances/action", **needs(EvsPermission.VOLUMES_BY_TAG))
@routes.post(f"{ALIAS}/resource_instances/action", **needs(EvsPermission.VOLUMES_BY_TAG))
def volumes_by_tags(body: VolumesByTagsBody, call: Caller, evs: UsesEvs) -> VolumesByTagsResponse:
    """The volumes that have all these tags, or how many they are."""
    page = Page(body.limit, body.offset)
    found = evs.volumes.list_page(call.project_id, page, Filters(matches=body.match))
    volumes = found.records if body.action == "filter" else []
    shown = zip(volumes, views(evs, call.project_id, volumes), strict=True)
    resources = [_tagged(volume, detail) for volume, detail in shown]
    return VolumesByTagsResponse(total_count=found.total, resources=resources)


def _tagged(volume: Volume, detail: VolumeView) -> TaggedVolume:
    return TaggedVolume(
        resource_id=volume.id,
        resource_name=volume.name,
        resource_detail=detail,
        tags=_tags(volume.tags),
    )


def _tags(tags: dict[str, str]) -> list[Tag]:
    return [Tag(key=key, value=value) for key, value in sorted(tags.items())]
