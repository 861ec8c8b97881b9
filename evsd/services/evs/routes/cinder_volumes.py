"""Volumes on Cinder's paths, which EVS publishes beside its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import Query, Request, Response
from pydantic import ConfigDict, Field

from evsd.api.fields import SnapshotId, VolumeId
from evsd.api.router import Router, router
from evsd.api.routes import Caller, Model, needs
from evsd.services.evs.errors import EvsRequestInvalid
from evsd.services.evs.lists import Found
from evsd.services.evs.permissions import EvsPermission
from evsd.services.evs.routes.dependencies import UsesEvs
from evsd.services.evs.routes.fields import VolumeName
from evsd.services.evs.routes.volume_bodies import WantedVolume
from evsd.services.evs.routes.volume_filters import AllTenants, CinderQuery, OnceEach, next_page
from evsd.services.evs.routes.volume_views import VolumeView, show_view, views
from evsd.services.evs.routes.volumes import NewSize, ShowVolumeResponse, UpdateVolumeBody
from evsd.services.evs.style import CINDER
from evsd.services.evs.tables import Volume


class CreateVolumeBody(Model):
    """Create."""

    volume: WantedVolume


class NewType(Model):
    """Which type a volume is to have; there is nowhere that it could migrate to."""

    new_type: Annotated[str, Field(max_length=64)]
    migration_policy: str | None = None


class Revert(Model):
    """Which of its snapshots a volume is to be again."""

    snapshot_id: SnapshotId


class ActionBody(Model):
    """One action on a volume."""

    model_config = ConfigDict(extra="allow")

    os_extend: Annotated[NewSize | None, Field(alias="os-extend")] = None
    os_retype: Annotated[NewType | None, Field(alias="os-retype")] = None
    revert: Revert | None = None

    @property
    def is_one(self) -> bool:
        """Whether there is one action, and a known one."""
        known = [self.os_extend, self.os_retype, self.revert]
        return len(known) - known.count(None) == 1 and not self.model_extra


class VolumesResponse(Model):
    """Of list with details; `count` only if it was asked for."""

    volumes: list[VolumeView]
    volumes_links: list[dict[str, str]] | None = None
    count: int | None = None


class VolumeLink(Model):
    """A volume by its name."""

    id: str
    name: str
    links: list[dict[str, str]]


class VolumeNamesResponse(Model):
    """Of list without details."""

    volumes: list[VolumeLink]
    volumes_links: list[dict[str, str]] | None = None
    count: int | None = None


class Summary(Model):
    """All volumes of a project together."""

    total_size: int
    total_count: int
    metadata: dict[str, list[str]]


class SummaryResponse(Model):
    """Of summary."""

    volume_summary: Annotated[Summary, Field(alias="volume-summary")]


class PoolReference(Model):
    """Which file of the pool."""

    source_name: Annotated[str, Field(alias="source-name", max_length=64)]


class ManagedVolume(Model):
    """A volume that is there already. Cinder's `host` is ignored: there is one pool."""

    ref: PoolReference
    name: VolumeName | None = None


class ManageVolumeBody(Model):
    """Manage."""

    volume: ManagedVolume


routes: Router = router(CINDER, "Cinder")
V2, V3 = "/v2/{project_id}/volumes", "/v3/{project_id}/volumes"
CREATING = {"status_code": 202, **needs(EvsPermission.VOLUME_CREATE)}
LISTING: dict[str, Any] = {
    "response_model_exclude_none": True,
    **needs(EvsPermission.VOLUME_LIST),
}
SHOWING, UPDATING = needs(EvsPermission.VOLUME_SHOW), needs(EvsPermission.VOLUME_UPDATE)
ACTING = {"status_code": 202, **needs(EvsPermission.VOLUME_EXTEND)}
DELETING = {"status_code": 202, **needs(EvsPermission.VOLUME_DELETE)}


@routes.post(V2, **CREATING)
@routes.post(V3, **CREATING)
def create_volume(body: CreateVolumeBody, call: Caller, evs: UsesEvs) -> ShowVolumeResponse:
    """Make one encrypted volume; without encryption fields under the project's default key."""
    if body.volume.count != 1:
        raise EvsRequestInvalid(reason="count: this path makes one volume")
    job = evs.new_volumes.create(call, body.volume.new_volume)
    [volume_id] = evs.volumes.ids_of(job)
    return ShowVolumeResponse(volume=show_view(call, evs, volume_id))


@routes.get(f"{V2}/detail", **LISTING)
@routes.get(f"{V3}/detail", **LISTING)
def list_volumes_in_detail(
    query: Annotated[CinderQuery, Query()],
    _once: OnceEach,
    request: Request,
    call: Caller,
    evs: UsesEvs,
) -> VolumesResponse:
    """One page of the project's volumes."""
    found = _found(query, call, evs)
    shown = views(evs, call.project_id, found.records)
    return VolumesResponse(volumes=shown, **_rest(query, request, found))


@routes.get(V2, **LISTING)
@routes.get(V3, **LISTING)
def list_volumes_by_name(
    query: Annotated[CinderQuery, Query()],
    _once: OnceEach,
    request: Request,
    call: Caller,
    evs: UsesEvs,
) -> VolumeNamesResponse:
    """The same, and of each volume its name alone."""
    found = _found(query, call, evs)
    shown = views(evs, call.project_id, found.records)
    names = [VolumeLink(id=one.id, name=one.name, links=one.links) for one in shown]
    return VolumeNamesResponse(volumes=names, **_rest(query, request, found))


@routes.get(f"{V3}/summary", **SHOWING)
def summarise_volumes(
    call: Caller,
    evs: UsesEvs,
    all_tenants: Annotated[AllTenants, Query()] = None,
) -> SummaryResponse:
    """How many volumes a project has, of how many GiB, and with which metadata of their users."""
    del all_tenants  # see there
    count, gigabytes, metadata = evs.volumes.summary(call.project_id)
    found = Summary(total_count=count, total_size=gigabytes, metadata=metadata)
    return SummaryResponse(volume_summary=found)


@routes.get(f"{V2}/{{volume_id}}", **SHOWING)
@routes.get(f"{V3}/{{volume_id}}", **SHOWING)
def show_volume(volume_id: str, call: Caller, evs: UsesEvs) -> ShowVolumeResponse:
    """One volume; clients ask for it by its name first, and go on where there is none."""
    return ShowVolumeResponse(volume=show_view(call, evs, volume_id))


@routes.put(f"{V2}/{{volume_id}}", **UPDATING)
@routes.put(f"{V3}/{{volume_id}}", **UPDATING)
def update_volume(
    volume_id: VolumeId, body: UpdateVolumeBody, call: Caller, evs: UsesEvs
) -> ShowVolumeResponse:
    """Change name or description."""
    changes = body.volume
    evs.volumes.update(call.project_id, volume_id, changes.name, changes.description)
    return ShowVolumeResponse(volume=show_view(call, evs, volume_id))


@routes.delete(f"{V2}/{{volume_id}}", **DELETING)
@routes.delete(f"{V3}/{{volume_id}}", **DELETING)
def delete_volume(
    volume_id: VolumeId,
    call: Caller,
    evs: UsesEvs,
    force: Annotated[bool, Query(description="Changes nothing: an attached one stays.")] = False,
    cascade: Annotated[bool, Query(description="With its snapshots; else it has none.")] = False,
) -> Response:
    """Destroy a volume and the wrapped key with it."""
    del force
    if not cascade:
        evs.snapshots.require_none(call.project_id, volume_id)
    evs.volumes.delete(call.project_id, volume_id)
    return Response(status_code=202)


@routes.post(f"{V2}/{{volume_id}}/action", **ACTING)
@routes.post(f"{V3}/{{volume_id}}/action", **ACTING)
def act_on_volume(volume_id: VolumeId, body: ActionBody, call: Caller, evs: UsesEvs) -> Response:
    """Extend, retype or revert, as EVS does it, but without a job to ask for."""
    if not body.is_one:
        others = ", ".join(sorted(body.model_extra or {}))[:64]
        said = f", not {others}" if others else ""
        raise EvsRequestInvalid(
            reason=f"one action is expected, os-extend, os-retype or revert{said}"
        )
    if body.os_extend is not None:
        evs.volumes.extend(call.project_id, volume_id, body.os_extend.new_size)
        evs.attachments.tell_size(call, evs.volumes.show(call.project_id, volume_id))
    elif body.os_retype is not None:
        evs.volumes.retype(call.project_id, volume_id, body.os_retype.new_type)
    elif body.revert is not None:
        evs.snapshots.roll_back(call.project_id, body.revert.snapshot_id, volume_id)
    return Response(status_code=202)


@routes.post(
    "/v3/{project_id}/manageable_volumes", status_code=202, **needs(EvsPermission.VOLUME_MANAGE)
)
def manage_volume(body: ManageVolumeBody, call: Caller, evs: UsesEvs) -> ShowVolumeResponse:
    """Register a volume whose file is in the pool and whose record is lost.

    A CMK whose record is lost too is registered with it, disabled; so is their project.
    """
    wanted = body.volume
    volume = evs.registration.register(call, wanted.ref.source_name, wanted.name)
    owner = replace(call, project_id=volume.project_id)
    return ShowVolumeResponse(volume=show_view(owner, evs, volume.id))


def _found(query: CinderQuery, call: Caller, evs: UsesEvs) -> Found[Volume]:
    filters, page = query.filters, query.page
    if filters is None:
        return Found([], 0, more=False)
    return evs.volumes.list_page(call.project_id, page, filters)


def _rest(query: CinderQuery, request: Request, found: Found[Volume]) -> dict[str, Any]:
    """What a list tells besides its volumes."""
    return {
        "volumes_links": [next_page(request, found.records[-1].id)] if found.more else None,
        "count": found.total if query.with_count else None,
    }
