"""EVS API: groups of snapshots of one moment, and chains, on the published paths of v5."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query, Response
from pydantic import ConfigDict, Field

from evsd.api.fields import MAX_OFFSET, microseconds
from evsd.api.router import Router, router
from evsd.api.routes import Caller, Model, needs
from evsd.services.evs.permissions import EvsPermission
from evsd.services.evs.routes.dependencies import UsesEvs
from evsd.services.evs.routes.fields import Tags
from evsd.services.evs.routes.snapshot_bodies import ShortDescription, ShortName, VolumeReference
from evsd.services.evs.routes.snapshot_filters import tag_pairs
from evsd.services.evs.routes.snapshot_views import SnapshotChain, chain
from evsd.services.evs.routes.standard_snapshots import CountResponse, TagsBody
from evsd.services.evs.routes.volume_filters import OnceEach, SortDirection
from evsd.services.evs.snapshots.groups import Group, NewGroup
from evsd.services.evs.style import EVS_SNAPSHOTS

MOST_VOLUMES = 32


class WantedGroup(Model):
    """Which volumes; a server's are not known here."""

    volume_ids: Annotated[list[VolumeReference], Field(min_length=1, max_length=MOST_VOLUMES)]
    server_id: None = None
    name: ShortName | None = None
    description: ShortDescription | None = None
    tags: Tags | None = None
    instant_access: bool = False
    incremental: bool = True


class CreateGroupBody(Model):
    """Create."""

    snapshot_group: WantedGroup


class GroupChanges(Model):
    """What update can change."""

    name: ShortName | None = None
    description: ShortDescription | None = None


class UpdateGroupBody(Model):
    """Update."""

    snapshot_group: GroupChanges


class GroupJobAnswer(Model):
    """Of create and delete: poll the job. Without snapshots there is none to wait for."""

    job_id: str | None = None
    snapshot_group_id: str | None = None


class GroupView(Model):
    """A group; its status is what its snapshots are like."""

    id: str
    project_id: str
    name: str
    description: str
    status: str
    tags: dict[str, str]
    server_id: str | None = None
    enterprise_project_id: str = "0"
    created_at: str
    updated_at: str


class GroupResponse(Model):
    """Of show and update."""

    snapshot_group: GroupView


class GroupsResponse(Model):
    """Of list."""

    snapshot_groups: list[GroupView]


class GroupsQuery(Model):
    """The parameters that are published; none is ignored."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=1000)] = 1000
    offset: Annotated[int, Field(ge=0, le=MAX_OFFSET)] = 0
    sort_key: Literal["id", "status", "created_at"] = "created_at"
    sort_dir: SortDirection = "desc"
    id: str | None = None
    name: str | None = None
    status: str | None = None
    server_id: str | None = None
    enterprise_project_id: str | None = None
    tag_key: str | None = None
    tags: Annotated[str | None, Field(max_length=4096)] = None

    def of(self, groups: list[GroupView]) -> list[GroupView]:
        """Those that pass, in order."""
        if self.server_id or self.enterprise_project_id not in (None, "0", "all_granted_eps"):
            return []
        pairs = tag_pairs(self.tags).items()
        found = [
            group
            for group in groups
            if self.id in (None, group.id)
            and self.name in (None, group.name)
            and self.status in (None, group.status)
            and (self.tag_key is None or self.tag_key in group.tags)
            and pairs <= group.tags.items()
        ]
        descending = self.sort_dir == "desc"
        return sorted(found, key=lambda one: getattr(one, self.sort_key), reverse=descending)


class ChainsQuery(Model):
    """The parameters that are published; the id of a chain is its volume's."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=1000)] = 1000
    marker: str | None = None
    id: str | None = None
    volume_id: str | None = None
    availability_zone: str | None = None
    category: str | None = None

    def of(self, chains: list[SnapshotChain]) -> list[SnapshotChain]:
        """Those that pass, by their ids."""
        return [
            one
            for one in chains
            if self.id in (None, one.id)
            and self.volume_id in (None, one.volume_id)
            and self.availability_zone in (None, one.availability_zone)
            and self.category in (None, one.category)
            and one.id > (self.marker or "")
        ]


class ChainsResponse(Model):
    """Of list chains."""

    snapshot_chains: list[SnapshotChain]


routes: Router = router(EVS_SNAPSHOTS, "EVS")
BASE, CHAINS = "/v5/{project_id}/snapshot-groups", "/v5/{project_id}/snapshot-chains"
ONE = f"{BASE}/{{snapshot_group_id}}"
CREATING = {
    "status_code": 202,
    "response_model_exclude_none": True,
    **needs(EvsPermission.SNAPSHOT_CREATE),
}
LISTING, UPDATING = needs(EvsPermission.SNAPSHOT_LIST), needs(EvsPermission.SNAPSHOT_UPDATE)
DELETING = {**CREATING, **needs(EvsPermission.SNAPSHOT_DELETE)}
EachGroup = Annotated[GroupsQuery, Query()]
EachChain = Annotated[ChainsQuery, Query()]


@routes.post(BASE, **CREATING)
def create_group(body: CreateGroupBody, call: Caller, evs: UsesEvs) -> GroupJobAnswer:
    """Take snapshots of several volumes, attached or not, at one moment."""
    wanted = body.snapshot_group
    new = NewGroup(
        wanted.volume_ids, wanted.name or None, wanted.description or "", wanted.tags or {}
    )
    group_id, job = evs.snapshot_groups.create(call, new)
    return GroupJobAnswer(job_id=job.id, snapshot_group_id=group_id)


@routes.get(f"{BASE}/detail", **LISTING)
def list_groups(query: EachGroup, _once: OnceEach, call: Caller, evs: UsesEvs) -> GroupsResponse:
    """One page of the project's groups, newest first unless told otherwise."""
    found = query.of(_views(evs, call))
    return GroupsResponse(snapshot_groups=found[query.offset :][: query.limit])


@routes.get(f"{BASE}/count", **LISTING)
def count_groups(query: EachGroup, _once: OnceEach, call: Caller, evs: UsesEvs) -> CountResponse:
    """How many groups pass the filters."""
    return CountResponse(count=len(query.of(_views(evs, call))))


@routes.get(ONE, **needs(EvsPermission.SNAPSHOT_SHOW))
def show_group(snapshot_group_id: str, call: Caller, evs: UsesEvs) -> GroupResponse:
    """One group; its snapshots are listed by `snapshot_group_id`."""
    group = evs.snapshot_groups.show(call.project_id, snapshot_group_id)
    return GroupResponse(snapshot_group=_view(group))


@routes.put(ONE, **UPDATING)
def update_group(
    snapshot_group_id: str, body: UpdateGroupBody, call: Caller, evs: UsesEvs
) -> GroupResponse:
    """Change name or description."""
    changes = body.snapshot_group
    group = evs.snapshot_groups.update(
        call.project_id, snapshot_group_id, changes.name, changes.description
    )
    return GroupResponse(snapshot_group=_view(group))


@routes.delete(ONE, **DELETING)
def delete_group(snapshot_group_id: str, call: Caller, evs: UsesEvs) -> GroupJobAnswer:
    """Delete a group with its snapshots; the job is that of the last of them."""
    begun = evs.snapshot_groups.delete(call.project_id, snapshot_group_id)
    return GroupJobAnswer(job_id=begun[-1].id if begun else None)


@routes.post(f"{ONE}/tags/create", status_code=204, **UPDATING)
def add_tags_of_group(
    snapshot_group_id: str, body: TagsBody, call: Caller, evs: UsesEvs
) -> Response:
    """Add tags, or change their values."""
    tags = {tag.key: tag.value for tag in body.tags}
    evs.snapshot_groups.tag(call.project_id, snapshot_group_id, tags)
    return Response(status_code=204)


@routes.post(f"{ONE}/tags/delete", status_code=204, **UPDATING)
def remove_tags_of_group(
    snapshot_group_id: str, body: TagsBody, call: Caller, evs: UsesEvs
) -> Response:
    """Remove tags by their keys."""
    keys = [tag.key for tag in body.tags]
    evs.snapshot_groups.untag(call.project_id, snapshot_group_id, keys)
    return Response(status_code=204)


@routes.get(CHAINS, **LISTING)
def list_chains(query: EachChain, _once: OnceEach, call: Caller, evs: UsesEvs) -> ChainsResponse:
    """The chains of volumes with snapshots, with what they take in the pool."""
    return ChainsResponse(snapshot_chains=query.of(_chains(evs, call))[: query.limit])


@routes.get(f"{CHAINS}/count", **LISTING)
def count_chains(query: EachChain, _once: OnceEach, call: Caller, evs: UsesEvs) -> CountResponse:
    """How many chains pass the filters."""
    return CountResponse(count=len(query.of(_chains(evs, call))))


def _chains(evs: UsesEvs, call: Caller) -> list[SnapshotChain]:
    return [chain(evs, volume_id) for volume_id in evs.snapshots.volumes(call.project_id)]


def _views(evs: UsesEvs, call: Caller) -> list[GroupView]:
    return [_view(group) for group in evs.snapshot_groups.list_all(call.project_id)]


def _view(group: Group) -> GroupView:
    record = group.record
    return GroupView(
        id=record.id,
        project_id=record.project_id,
        name=record.name,
        description=record.description,
        status=group.status,
        tags=record.tags,
        created_at=microseconds(record.created_at),
        updated_at=microseconds(record.updated_at),
    )
