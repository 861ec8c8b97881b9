"""EVS API: snapshots on the published paths of v2."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, Response

from evsd.api.fields import SnapshotId
from evsd.api.router import Router, router
from evsd.api.routes import Caller, Model, needs
from evsd.services.evs.permissions import EvsPermission
from evsd.services.evs.routes.dependencies import UsesEvs
from evsd.services.evs.routes.snapshot_bodies import (
    CreateSnapshotBody,
    RollbackBody,
    RollbackResponse,
    RolledBack,
    UpdateSnapshotBody,
)
from evsd.services.evs.routes.snapshot_filters import EvsSnapshotsQuery
from evsd.services.evs.routes.snapshot_views import SnapshotResponse, SnapshotView, view
from evsd.services.evs.routes.volume_filters import OnceEach, next_page
from evsd.services.evs.style import EVS_SNAPSHOTS


class ListSnapshotsResponse(Model):
    """Of list."""

    count: int
    snapshots: list[SnapshotView]
    snapshots_links: list[dict[str, str]]


routes: Router = router(EVS_SNAPSHOTS, "EVS")
BASE = "/v2/{project_id}/cloudsnapshots"
ONE = f"{BASE}/{{snapshot_id}}"


@routes.post(BASE, status_code=202, **needs(EvsPermission.SNAPSHOT_CREATE))
def create_snapshot(body: CreateSnapshotBody, call: Caller, evs: UsesEvs) -> SnapshotResponse:
    """Take a snapshot of an available volume, or with `force` of an attached one."""
    snapshot, _ = evs.snapshots.create(call, body.snapshot.new_snapshot)
    return SnapshotResponse(snapshot=view(snapshot))


@routes.get(f"{BASE}/detail", **needs(EvsPermission.SNAPSHOT_LIST))
def list_snapshots(
    query: Annotated[EvsSnapshotsQuery, Query()],
    _once: OnceEach,
    request: Request,
    call: Caller,
    evs: UsesEvs,
) -> ListSnapshotsResponse:
    """One page of the project's snapshots, newest first."""
    filters = query.filters
    if filters is None:
        return ListSnapshotsResponse(count=0, snapshots=[], snapshots_links=[])
    found = evs.snapshots.list_page(call.project_id, query.page, filters)
    links = [next_page(request, found.records[-1].id)] if found.more else []
    shown = [view(snapshot) for snapshot in found.records]
    return ListSnapshotsResponse(count=found.total, snapshots=shown, snapshots_links=links)


@routes.get(ONE, **needs(EvsPermission.SNAPSHOT_SHOW))
def show_snapshot(snapshot_id: SnapshotId, call: Caller, evs: UsesEvs) -> SnapshotResponse:
    """One snapshot."""
    return SnapshotResponse(snapshot=view(evs.snapshots.show(call.project_id, snapshot_id)))


@routes.put(ONE, **needs(EvsPermission.SNAPSHOT_UPDATE))
def update_snapshot(
    snapshot_id: SnapshotId, body: UpdateSnapshotBody, call: Caller, evs: UsesEvs
) -> SnapshotResponse:
    """Change name or description."""
    changes = body.snapshot
    changed = evs.snapshots.update(call.project_id, snapshot_id, changes.name, changes.description)
    return SnapshotResponse(snapshot=view(changed))


@routes.delete(ONE, status_code=202, **needs(EvsPermission.SNAPSHOT_DELETE))
def delete_snapshot(snapshot_id: SnapshotId, call: Caller, evs: UsesEvs) -> Response:
    """Delete a snapshot, wherever it is in its volume's chain."""
    evs.snapshots.delete(call.project_id, snapshot_id)
    return Response(status_code=202)


@routes.post(f"{ONE}/rollback", status_code=202, **needs(EvsPermission.SNAPSHOT_ROLL_BACK))
def roll_back_snapshot(
    snapshot_id: SnapshotId, body: RollbackBody, call: Caller, evs: UsesEvs
) -> RollbackResponse:
    """Let the snapshot's volume, which must be available, be what it was then."""
    wanted = body.rollback.volume_id
    evs.snapshots.roll_back(call.project_id, snapshot_id, wanted)
    return RollbackResponse(rollback=RolledBack(volume_id=wanted))
