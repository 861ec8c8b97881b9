"""EVS API: lists of volumes, by filters and by tags, and the tags themselves.

A filter is never ignored: a script that lists and deletes would hit other volumes than it asked
for. One that all volumes here pass, or none, is answered so; one that is unknown is refused.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

from fastapi import Depends, Query, Request
from pydantic import AfterValidator, ConfigDict, Field

from evsd.api.fields import MAX_OFFSET, VolumeId
from evsd.api.router import Router, router
from evsd.api.routes import Caller, Model, needs
from evsd.services.evs.errors import EvsFieldInvalid
from evsd.services.evs.permissions import EvsPermission
from evsd.services.evs.routes.dependencies import UsesEvs
from evsd.services.evs.routes.volumes import VolumeView, metadata_of, view
from evsd.services.evs.service import EvsService
from evsd.services.evs.style import EVS
from evsd.services.evs.tables import Attachment, Volume
from evsd.services.evs.volumes.listing import Filters, Page

LIST = "/v2/{project_id}/cloudvolumes"
# What is the same for all volumes here, and by which names a list may ask for it.
OF_EVERY_VOLUME = {
    "service_type": ("EVS",),
    "multiattach": (False,),
    "enterprise_project_id": ("0", "all_granted_eps"),
    "dedicated_storage_id": ("",),
    "dedicated_storage_name": ("",),
}


def _pairs(text: str) -> str:
    try:
        pairs = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError('it is not JSON like {"name": "value"}') from error
    if not isinstance(pairs, dict) or not all(isinstance(v, str) for v in pairs.values()):
        raise ValueError('it is not an object of texts like {"name": "value"}')
    return text


Pairs = Annotated[str, Field(max_length=4096), AfterValidator(_pairs)]


class VolumesQuery(Model):
    """The published parameters; an empty marker is the list's beginning."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=1000)] = 1000
    offset: Annotated[int, Field(ge=0, le=MAX_OFFSET)] = 0
    marker: str | None = None
    sort_key: Literal["id", "status", "size", "created_at"] = "created_at"
    sort_dir: Literal["asc", "desc"] = "desc"
    name: str | None = None
    status: str | None = None
    id: str | None = None
    ids: Annotated[str | None, Field(max_length=4096)] = None
    availability_zone: str | None = None
    volume_type_id: str | None = None
    server_id: str | None = None
    metadata: Pairs | None = None
    not_metadata: Pairs | None = None
    multiattach: bool | None = None
    service_type: str | None = None
    enterprise_project_id: str | None = None
    dedicated_storage_id: str | None = None
    dedicated_storage_name: str | None = None

    @property
    def page(self) -> Page:
        """Which part of the list is wanted."""
        descending = self.sort_dir == "desc"
        return Page(self.limit, self.offset, self.sort_key, descending, self.marker or None)

    @property
    def filters(self) -> Filters | None:
        """Which volumes are wanted; None where none can be."""
        for name, values in OF_EVERY_VOLUME.items():
            if getattr(self, name) not in (None, *values):
                return None
        columns = {
            "name": self.name,
            "status": self.status,
            "id": self.id,
            "availability_zone": self.availability_zone,
            "volume_type": self.volume_type_id,  # types have no ids but their names
        }
        equal = {column: value for column, value in columns.items() if value is not None}
        return Filters(equal, _ids(self.ids), self.server_id, self._matches())

    def _matches(self) -> Callable[[Volume], bool] | None:
        if self.metadata is None and self.not_metadata is None:
            return None
        wanted = json.loads(self.metadata or "{}").items()
        unwanted = json.loads(self.not_metadata or "{}").items()

        def matches(volume: Volume) -> bool:
            there = metadata_of(volume).items()
            return wanted <= there and not unwanted & there

        return matches


async def _once_each(request: Request) -> None:
    names = [name for name, _ in request.query_params.multi_items()]
    for name in names:
        if names.count(name) > 1:
            raise EvsFieldInvalid(field=name[:64], value="", reason="it is there more than once")


# Of a filter that is given twice only one would count.
OnceEach = Annotated[None, Depends(_once_each)]


class ListVolumesResponse(Model):
    """Of list."""

    count: int
    volumes: list[VolumeView]
    volumes_links: list[dict[str, str]]


class ProjectTagsResponse(Model):
    """All tags of a project's volumes, each with its values."""

    tags: dict[str, list[str]]


class Tag(Model):
    """A tag."""

    key: str
    value: str


class VolumeTagsResponse(Model):
    """The tags of a volume."""

    tags: list[Tag]


class TagFilter(Model):
    """A tag and the values that will do; none listed: any."""

    key: Annotated[str, Field(max_length=255)]
    values: Annotated[list[str], Field(default_factory=list, max_length=100)]


class Match(Model):
    """A part of a volume's name."""

    key: Literal["resource_name"]
    value: Annotated[str, Field(max_length=255)]


class VolumesByTagsBody(Model):
    """Volumes by tags."""

    action: Literal["filter", "count"]
    tags: Annotated[list[TagFilter], Field(default_factory=list, max_length=20)]
    matches: Annotated[list[Match], Field(default_factory=list, max_length=20)]
    limit: Annotated[int, Field(ge=1, le=1000)] = 1000
    offset: Annotated[int, Field(ge=0, le=MAX_OFFSET)] = 0

    def match(self, volume: Volume) -> bool:
        """Whether a volume has all these tags, and a name with all these parts."""
        return all(
            tag.key in volume.tags and (not tag.values or volume.tags[tag.key] in tag.values)
            for tag in self.tags
        ) and all(match.value in volume.name for match in self.matches)


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


@routes.get(f"{LIST}/detail", **needs(EvsPermission.VOLUME_LIST))
def list_volumes(
    query: Annotated[VolumesQuery, Query()],
    _once: OnceEach,
    request: Request,
    call: Caller,
    evs: UsesEvs,
) -> ListVolumesResponse:
    """One page of the project's volumes, newest first unless told otherwise."""
    filters = query.filters
    if filters is None:
        return ListVolumesResponse(count=0, volumes=[], volumes_links=[])
    found = evs.volumes.list_page(call.project_id, query.page, filters)
    links = [_next(request, found.volumes[-1].id)] if found.more else []
    views = _views(evs, call.project_id, found.volumes)
    return ListVolumesResponse(count=found.total, volumes=views, volumes_links=links)


@routes.get(f"{LIST}/tags", **needs(EvsPermission.VOLUME_LIST))
def project_tags(call: Caller, evs: UsesEvs) -> ProjectTagsResponse:
    """All tags of the project's volumes."""
    values: dict[str, set[str]] = defaultdict(set)
    for tags in evs.volumes.all_tags(call.project_id):
        for key, value in tags.items():
            values[key].add(value)
    return ProjectTagsResponse(tags={key: sorted(values[key]) for key in sorted(values)})


@routes.get(f"{LIST}/{{volume_id}}/tags", **needs(EvsPermission.VOLUME_SHOW))
def volume_tags(volume_id: VolumeId, call: Caller, evs: UsesEvs) -> VolumeTagsResponse:
    """The tags of one volume."""
    return VolumeTagsResponse(tags=_tags(evs.volumes.show(call.project_id, volume_id)))


@routes.post(f"{LIST}/resource_instances/action", **needs(EvsPermission.VOLUME_LIST))
def volumes_by_tags(body: VolumesByTagsBody, call: Caller, evs: UsesEvs) -> VolumesByTagsResponse:
    """The volumes that have all these tags, or how many they are."""
    page = Page(body.limit, body.offset)
    found = evs.volumes.list_page(call.project_id, page, Filters(matches=body.match))
    volumes = found.volumes if body.action == "filter" else []
    shown = zip(volumes, _views(evs, call.project_id, volumes), strict=True)
    resources = [_tagged(volume, detail) for volume, detail in shown]
    return VolumesByTagsResponse(total_count=found.total, resources=resources)


def _views(evs: EvsService, project_id: str, volumes: Sequence[Volume]) -> list[VolumeView]:
    attached: dict[str, list[Attachment]] = defaultdict(list)
    for attachment in evs.attachments.list_all(project_id):
        attached[attachment.volume_id].append(attachment)
    return [view(volume, attached[volume.id]) for volume in volumes]


def _tagged(volume: Volume, detail: VolumeView) -> TaggedVolume:
    return TaggedVolume(
        resource_id=volume.id,
        resource_name=volume.name,
        resource_detail=detail,
        tags=_tags(volume),
    )


def _next(request: Request, marker: str) -> dict[str, str]:
    """Where the next page is: after the last volume of this one."""
    url = request.url.remove_query_params("offset").include_query_params(marker=marker)
    return {"rel": "next", "href": str(url)}


def _tags(volume: Volume) -> list[Tag]:
    return [Tag(key=key, value=value) for key, value in sorted(volume.tags.items())]


def _ids(text: str | None) -> list[str] | None:
    """The published form is a list as text: ``['a','b']``."""
    return None if text is None else re.findall(r"[0-9a-z-]{36}", text)
