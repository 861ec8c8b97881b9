"""EVS API: snapshots on the published paths of v5."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Response
from pydantic import Field

from evsd.api.fields import SnapshotId
from evsd.api.router import Router, router
from evsd.api.routes import Caller, Model, needs
from evsd.services.evs.lists import Page
from evsd.services.evs.permissions import EvsPermission
from evsd.services.evs.routes.dependencies import UsesEvs
from evsd.services.evs.routes.fields import Tags
from evsd.services.evs.routes.snapshot_bodies import (
    RollbackBody,
    ShortDescription,
    ShortName,
    VolumeReference,
)
from evsd.services.evs.routes.snapshot_filters import StandardSnapshotsQuery
from evsd.services.evs.routes.snapshot_views import (
    StandardSnapshotView,
    standard_show,
    standard_view,
)
from evsd.services.evs.routes.tags import WantedTag
from evsd.services.evs.routes.volume_filters import OnceEach
from evsd.services.evs.snapshots.service import NewSnapshot
from evsd.services.evs.style import EVS_SNAPSHOTS


class WantedStandardSnapshot(Model):
    """What create asks for. Each one is incremental, and kept until it is deleted."""

    volume_id: VolumeReference
    name: ShortName | None = None
    description: ShortDescription | None = None
    tags: Tags | None = None
    instant_access: bool = False
    incremental: bool = True
    retention_days: None = None

    @property
    def new_snapshot(self) -> NewSnapshot:
        """The same for the service."""
        return NewSnapshot(
            volume_id=self.volume_id,
            name=self.name or None,
            description=self.description or "",
            tags=self.tags or {},
        )


class CreateStandardSnapshotBody(Model):
    """Create."""

    snapshot: WantedStandardSnapshot


class StandardSnapshotChanges(Model):
    """What update can change; all here are of instant access."""

    name: ShortName | None = None
    description: ShortDescription | None = None
    instant_access: bool | None = None


class UpdateStandardSnapshotBody(Model):
    """Update."""

    snapshot: StandardSnapshotChanges


class SnapshotJobAnswer(Model):
    """Of create, delete and roll back: poll the job."""

    job_id: str
    snapshot_id: str | None = None


class StandardSnapshotResponse(Model):
    """Of show and update."""

    snapshot: StandardSnapshotView


class StandardSnapshotsResponse(Model):
    """Of list."""

    snapshots: list[StandardSnapshotView]


class CountResponse(Model):
    """How many there are."""

    count: int


class TagsBody(Model):
    """Tags to add, or to remove by their keys."""

    tags: Annotated[list[WantedTag], Field(min_length=1, max_length=20)]


class TagValues(Model):
    """A tag with all its values."""

    key: str
    value: list[str]


class TagsResponse(Model):
    """All tags of a project's snapshots."""

    tags: list[TagValues]


routes: Router = router(EVS_SNAPSHOTS, "EVS")
BASE = "/v5/{project_id}/snapshots"
ONE = f"{BASE}/{{snapshot_id}}"
CREATING = {
    "status_code": 202,
    "response_model_exclude_none": True,
    **needs(EvsPermission.SNAPSHOT_CREATE),
}
LISTING, UPDATING = needs(EvsPermission.SNAPSHOT_LIST), needs(EvsPermission.SNAPSHOT_UPDATE)
DELETING = {**CREATING, **needs(EvsPermission.SNAPSHOT_DELETE)}
ROLLING_BACK = {**CREATING, **needs(EvsPermission.SNAPSHOT_ROLL_BACK)}


@routes.post(BASE, **CREATING)
def create_standard_snapshot(
    body: CreateStandardSnapshotBody, call: Caller, evs: UsesEvs
) -> SnapshotJobAnswer:
    """Take a snapshot of a volume, attached or not."""
    snapshot, job = evs.snapshots.create(call, body.snapshot.new_snapshot)
    return SnapshotJobAnswer(job_id=job.id, snapshot_id=snapshot.id)


@routes.get(f"{BASE}/detail", **LISTING)
def list_standard_snapshots(
    query: Annotated[StandardSnapshotsQuery, Query()], _once: OnceEach, call: Caller, evs: UsesEvs
) -> StandardSnapshotsResponse:
    """One page of the project's snapshots, newest first unless told otherwise."""
    filters = query.filters
    if filters is None:
        return StandardSnapshotsResponse(snapshots=[])
    found = evs.snapshots.list_page(call.project_id, query.page, filters)
    return StandardSnapshotsResponse(snapshots=[standard_view(one) for one in found.records])


@routes.get(f"{BASE}/count", **LISTING)
def count_standard_snapshots(
    query: Annotated[StandardSnapshotsQuery, Query()], _once: OnceEach, call: Caller, evs: UsesEvs
) -> CountResponse:
    """How many snapshots pass the filters."""
    filters = query.filters
    if filters is None:
        return CountResponse(count=0)
    return CountResponse(count=evs.snapshots.list_page(call.project_id, Page(1), filters).total)


@routes.get(f"{BASE}/tags", **LISTING)
def list_tags_of_snapshots(call: Caller, evs: UsesEvs) -> TagsResponse:
    """All tags of the project's snapshots."""
    found = evs.snapshots.tags_of_project(call.project_id)
    return TagsResponse(tags=[TagValues(key=key, value=each) for key, each in found.items()])


@routes.get(ONE, **needs(EvsPermission.SNAPSHOT_SHOW))
def show_standard_snapshot(
    snapshot_id: SnapshotId, call: Caller, evs: UsesEvs
) -> StandardSnapshotResponse:
    """One snapshot, with its chain."""
    snapshot = evs.snapshots.show(call.project_id, snapshot_id)
    return StandardSnapshotResponse(snapshot=standard_show(evs, snapshot))


@routes.put(ONE, **UPDATING)
def update_standard_snapshot(
    snapshot_id: SnapshotId, body: UpdateStandardSnapshotBody, call: Caller, evs: UsesEvs
) -> StandardSnapshotResponse:
    """Change name or description."""
    changes = body.snapshot
    changed = evs.snapshots.update(call.project_id, snapshot_id, changes.name, changes.description)
    return StandardSnapshotResponse(snapshot=standard_show(evs, changed))


@routes.delete(ONE, **DELETING)
def delete_standard_snapshot(
    snapshot_id: SnapshotId, call: Caller, evs: UsesEvs
) -> SnapshotJobAnswer:
    """Delete a snapshot, wherever it is in its volume's chain."""
    return SnapshotJobAnswer(job_id=evs.snapshots.delete(call.project_id, snapshot_id).id)


@routes.post(f"{ONE}/rollback", **ROLLING_BACK)
def roll_back_standard_snapshot(
    snapshot_id: SnapshotId, body: RollbackBody, call: Caller, evs: UsesEvs
) -> SnapshotJobAnswer:
    """Let the snapshot's volume, which must be available, be what it was then."""
    job = evs.snapshots.roll_back(call.project_id, snapshot_id, body.rollback.volume_id)
    return SnapshotJobAnswer(job_id=job.id)


@routes.post(f"{ONE}/tags/create", status_code=204, **UPDATING)
def add_tags_of_snapshot(
    snapshot_id: SnapshotId, body: TagsBody, call: Caller, evs: UsesEvs
) -> Response:
    """Add tags, or change their values."""
    evs.snapshots.tag(call.project_id, snapshot_id, {tag.key: tag.value for tag in body.tags})
    return Response(status_code=204)


@routes.post(f"{ONE}/tags/delete", status_code=204, **UPDATING)
def remove_tags_of_snapshot(
    snapshot_id: SnapshotId, body: TagsBody, call: Caller, evs: UsesEvs
) -> Response:
    """Remove tags by their keys."""
    evs.snapshots.untag(call.project_id, snapshot_id, [tag.key for tag in body.tags])
    return Response(status_code=204)
