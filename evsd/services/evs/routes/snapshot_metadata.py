"""Metadata of snapshots, on Cinder's paths, as EVS publishes them."""

from __future__ import annotations

from fastapi import Response

from evsd.api.fields import SnapshotId
from evsd.api.router import Router, router
from evsd.api.routes import Caller, needs
from evsd.services.evs.errors import EvsRequestInvalid, SnapshotMetadataNotFound
from evsd.services.evs.permissions import EvsPermission
from evsd.services.evs.routes.dependencies import UsesEvs
from evsd.services.evs.routes.metadata import MetaBody, MetadataBody, PathKey
from evsd.services.evs.style import CINDER

routes: Router = router(CINDER, "Cinder")
PATH = "{project_id}/snapshots/{snapshot_id}/metadata"
V2, V3 = f"/v2/{PATH}", f"/v3/{PATH}"
SHOWING, UPDATING = needs(EvsPermission.SNAPSHOT_SHOW), needs(EvsPermission.SNAPSHOT_UPDATE)


@routes.get(V2, **SHOWING)
@routes.get(V3, **SHOWING)
def list_snapshot_metadata(snapshot_id: SnapshotId, call: Caller, evs: UsesEvs) -> MetadataBody:
    """All metadata of a snapshot: what its users gave it."""
    snapshot = evs.snapshots.show(call.project_id, snapshot_id)
    return MetadataBody(metadata=snapshot.extra_metadata)


@routes.post(V2, **UPDATING)
@routes.post(V3, **UPDATING)
def add_snapshot_metadata(
    snapshot_id: SnapshotId, body: MetadataBody, call: Caller, evs: UsesEvs
) -> MetadataBody:
    """Add some, or change them."""
    changed = evs.snapshot_metadata.change(call.project_id, snapshot_id, body.metadata)
    return MetadataBody(metadata=changed)


@routes.put(V2, **UPDATING)
@routes.put(V3, **UPDATING)
def reset_snapshot_metadata(
    snapshot_id: SnapshotId, body: MetadataBody, call: Caller, evs: UsesEvs
) -> MetadataBody:
    """Let a snapshot have these and no others."""
    changed = evs.snapshot_metadata.change(
        call.project_id, snapshot_id, body.metadata, replace=True
    )
    return MetadataBody(metadata=changed)


@routes.get(f"{V2}/{{key}}", **SHOWING)
@routes.get(f"{V3}/{{key}}", **SHOWING)
def show_snapshot_metadata(
    snapshot_id: SnapshotId, key: PathKey, call: Caller, evs: UsesEvs
) -> MetaBody:
    """One of them."""
    there = evs.snapshots.show(call.project_id, snapshot_id).extra_metadata
    if key not in there:
        raise SnapshotMetadataNotFound(name=snapshot_id, key=key)
    return MetaBody(meta={key: there[key]})


@routes.put(f"{V2}/{{key}}", **UPDATING)
@routes.put(f"{V3}/{{key}}", **UPDATING)
def change_snapshot_metadata(
    snapshot_id: SnapshotId, key: PathKey, body: MetaBody, call: Caller, evs: UsesEvs
) -> MetaBody:
    """Change one, or add it."""
    if key not in body.meta:
        raise EvsRequestInvalid(reason=f"the path says {key}, the body another key")
    evs.snapshot_metadata.change(call.project_id, snapshot_id, body.meta)
    return body


@routes.delete(f"{V2}/{{key}}", **UPDATING)
@routes.delete(f"{V3}/{{key}}", **UPDATING)
def remove_snapshot_metadata(
    snapshot_id: SnapshotId, key: PathKey, call: Caller, evs: UsesEvs
) -> Response:
    """Remove one."""
    evs.snapshot_metadata.remove(call.project_id, snapshot_id, key)
    return Response()
