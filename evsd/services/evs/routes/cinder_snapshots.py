"""Snapshots on Cinder's paths, which EVS publishes beside its own."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query, Request, Response

from evsd.api.fields import SnapshotId
from evsd.api.router import Router, router
from evsd.api.routes import Caller, Model, needs
from evsd.services.evs.lists import Found
from evsd.services.evs.permissions import EvsPermission
from evsd.services.evs.routes.dependencies import UsesEvs
from evsd.services.evs.routes.snapshot_bodies import (
    CreateSnapshotBody,
    RollbackBody,
    RollbackResponse,
    RolledBack,
    UpdateSnapshotBody,
)
from evsd.services.evs.routes.snapshot_filters import CinderSnapshotsQuery
from evsd.services.evs.routes.snapshot_views import (
    CinderSnapshotView,
    SnapshotResponse,
    SnapshotView,
    cinder_view,
    view,
)
from evsd.services.evs.routes.volume_filters import OnceEach, next_page
from evsd.services.evs.style import CINDER
from evsd.services.evs.tables import Snapshot


class SnapshotsResponse(Model):
    """Of list with details; `count` only if it was asked for."""

    snapshots: list[SnapshotView]
    snapshots_links: list[dict[str, str]] | None = None
    count: int | None = None


class ShortSnapshotsResponse(Model):
    """Of list without details."""

    snapshots: list[CinderSnapshotView]
    snapshots_links: list[dict[str, str]] | None = None
    count: int | None = None


routes: Router = router(CINDER, "Cinder")
V2, V3 = "/v2/{project_id}/snapshots", "/v3/{project_id}/snapshots"
CREATING = {"status_code": 202, **needs(EvsPermission.SNAPSHOT_CREATE)}
LISTING: dict[str, Any] = {
    "response_model_exclude_none": True,
    **needs(EvsPermission.SNAPSHOT_LIST),
}
SHOWING, UPDATING = needs(EvsPermission.SNAPSHOT_SHOW), needs(EvsPermission.SNAPSHOT_UPDATE)
DELETING = {"status_code": 202, **needs(EvsPermission.SNAPSHOT_DELETE)}
ROLLING_BACK = {"status_code": 202, **needs(EvsPermission.SNAPSHOT_ROLL_BACK)}


@routes.post(V2, **CREATING)
@routes.post(V3, **CREATING)
def create_snapshot(body: CreateSnapshotBody, call: Caller, evs: UsesEvs) -> SnapshotResponse:
    """Take a snapshot of an available volume, or with `force` of an attached one."""
    snapshot, _ = evs.snapshots.create(call, body.snapshot.new_snapshot)
    return SnapshotResponse(snapshot=view(snapshot))


@routes.get(f"{V2}/detail", **LISTING)
@routes.get(f"{V3}/detail", **LISTING)
def list_snapshots_in_detail(
    query: Annotated[CinderSnapshotsQuery, Query()],
    _once: OnceEach,
    request: Request,
    call: Caller,
    evs: UsesEvs,
) -> SnapshotsResponse:
    """One page of the project's snapshots."""
    found = _found(query, call, evs)
    return SnapshotsResponse(
        snapshots=[view(one) for one in found.records], **_rest(query, request, found)
    )


@routes.get(V2, **LISTING)
@routes.get(V3, **LISTING)
def list_snapshots_in_short(
    query: Annotated[CinderSnapshotsQuery, Query()],
    _once: OnceEach,
    request: Request,
    call: Caller,
    evs: UsesEvs,
) -> ShortSnapshotsResponse:
    """The same, and of each what it is alone."""
    found = _found(query, call, evs)
    return ShortSnapshotsResponse(
        snapshots=[cinder_view(one) for one in found.records], **_rest(query, request, found)
    )


@routes.get(f"{V2}/{{snapshot_id}}", **SHOWING)
@routes.get(f"{V3}/{{snapshot_id}}", **SHOWING)
def show_snapshot(snapshot_id: str, call: Caller, evs: UsesEvs) -> SnapshotResponse:
    """One snapshot; clients ask for it by its name first, and go on where there is none."""
    return SnapshotResponse(snapshot=view(evs.snapshots.show(call.project_id, snapshot_id)))


@routes.put(f"{V2}/{{snapshot_id}}", **UPDATING)
@routes.put(f"{V3}/{{snapshot_id}}", **UPDATING)
def update_snapshot(
    snapshot_id: SnapshotId, body: UpdateSnapshotBody, call: Caller, evs: UsesEvs
) -> SnapshotResponse:
    """Change name or description."""
    changes = body.snapshot
    changed = evs.snapshots.update(call.project_id, snapshot_id, changes.name, changes.description)
    return SnapshotResponse(snapshot=view(changed))


@routes.delete(f"{V2}/{{snapshot_id}}", **DELETING)
@routes.delete(f"{V3}/{{snapshot_id}}", **DELETING)
def delete_snapshot(
    snapshot_id: SnapshotId,
    call: Caller,
    evs: UsesEvs,
    force: Annotated[bool, Query(description="Changes nothing: one that is used stays.")] = False,
) -> Response:
    """Delete a snapshot, wherever it is in its volume's chain."""
    del force
    evs.snapshots.delete(call.project_id, snapshot_id)
    return Response(status_code=202)


@routes.post("/v2/{project_id}/os-vendor-snapshots/{snapshot_id}/rollback", **ROLLING_BACK)
@routes.post("/v3/{project_id}/os-vendor-snapshots/{snapshot_id}/rollback", **ROLLING_BACK)
def roll_back_snapshot(
    snapshot_id: SnapshotId, body: RollbackBody, call: Caller, evs: UsesEvs
) -> RollbackResponse:
    """Let the snapshot's volume, which must be available, be what it was then."""
    wanted = body.rollback.volume_id
    evs.snapshots.roll_back(call.project_id, snapshot_id, wanted)
    return RollbackResponse(rollback=RolledBack(volume_id=wanted))


def _found(query: CinderSnapshotsQuery, call: Caller, evs: UsesEvs) -> Found[Snapshot]:
    filters, page = query.filters, query.page
    if filters is None:
        return Found([], 0, more=False)
    return evs.snapshots.list_page(call.project_id, page, filters)


def _rest(query: CinderSnapshotsQuery, request: Request, found: Found[Snapshot]) -> dict[str, Any]:
    """What a list tells besides its snapshots."""
    return {
        "snapshots_links": [next_page(request, found.records[-1].id)] if found.more else None,
        "count": found.total if query.with_count else None,
    }
