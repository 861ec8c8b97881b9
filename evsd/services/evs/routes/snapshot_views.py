"""Snapshots as EVS and Cinder show them: in lists by their records, one by itself as it is now."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from evsd.api.fields import microseconds
from evsd.api.routes import Model
from evsd.services.evs.limits import GIB
from evsd.services.evs.service import EvsService
from evsd.services.evs.snapshots.states import SnapshotStatus
from evsd.services.evs.tables import Snapshot

ALGORITHM = "XTS-AES-256"
STANDARD, BY_USER = "standard", "user"


class CinderSnapshotView(Model):
    """A snapshot as Cinder lists it. Its metadata is its users' alone."""

    id: str
    status: str
    name: str
    description: str
    created_at: str
    updated_at: str
    metadata: dict[str, str]
    volume_id: str
    size: int
    user_id: str


class SnapshotView(CinderSnapshotView):
    """A snapshot as EVS v2 and Cinder show it."""

    project_id: Annotated[str, Field(alias="os-extended-snapshot-attributes:project_id")]
    progress: Annotated[str, Field(alias="os-extended-snapshot-attributes:progress")]
    service_type: str = "EVS"
    group_snapshot_id: str | None = None


class SnapshotResponse(Model):
    """Of create, show and update."""

    snapshot: SnapshotView


class SnapshotChain(Model):
    """The snapshots of one volume; `capacity` is what they and it take in the pool, in GiB."""

    id: str
    availability_zone: str
    snapshot_count: int
    capacity: float
    project_id: str
    volume_id: str
    category: str = STANDARD
    created_at: str
    updated_at: str


class StandardSnapshotView(Model):
    """A snapshot as EVS v5 shows it; its chain only if it is shown by itself."""

    id: str
    name: str
    description: str
    created_at: str
    updated_at: str
    volume_id: str
    size: int
    status: str
    project_id: str
    enterprise_project_id: str = "0"
    encrypted: bool = True
    cmk_id: str
    encrypt_algorithm: str = ALGORITHM
    category: str = STANDARD
    availability_zone: str
    tags: dict[str, str]
    instant_access: bool = False
    incremental: bool = True
    retention_at: str | None = None
    instant_access_retention_at: str | None = None
    snapshot_type: str = BY_USER
    progress: str
    snapshot_group_id: str | None
    snapshot_chains: Annotated[list[SnapshotChain], Field(default_factory=list)]


def view(snapshot: Snapshot) -> SnapshotView:
    """One snapshot as EVS v2 and Cinder show it."""
    return SnapshotView(
        **_named(snapshot),
        metadata=snapshot.extra_metadata,
        user_id=snapshot.user_id,
        project_id=snapshot.project_id,
        progress=progress(snapshot),
        group_snapshot_id=snapshot.group_id,
    )


def cinder_view(snapshot: Snapshot) -> CinderSnapshotView:
    """One snapshot as Cinder lists it without details."""
    return CinderSnapshotView(
        **_named(snapshot), metadata=snapshot.extra_metadata, user_id=snapshot.user_id
    )


def standard_view(snapshot: Snapshot) -> StandardSnapshotView:
    """One snapshot as EVS v5 lists it."""
    return StandardSnapshotView(
        **_named(snapshot),
        project_id=snapshot.project_id,
        cmk_id=snapshot.cmk_id,
        availability_zone=snapshot.availability_zone,
        tags=snapshot.tags,
        progress=progress(snapshot),
        snapshot_group_id=snapshot.group_id,
    )


def standard_show(evs: EvsService, snapshot: Snapshot) -> StandardSnapshotView:
    """The same by itself, with its chain."""
    shown = standard_view(snapshot)
    shown.snapshot_chains = [chain(evs, snapshot.volume_id)]
    return shown


def chain(evs: EvsService, volume_id: str) -> SnapshotChain:
    """The chain of a volume that has snapshots."""
    there = evs.snapshots.of_volume(volume_id)
    first, last = there[0], there[-1]
    used = evs.snapshots.used_bytes(volume_id)
    return SnapshotChain(
        id=volume_id,
        availability_zone=first.availability_zone,
        snapshot_count=len(there),
        capacity=round(used / GIB, 3),
        project_id=first.project_id,
        volume_id=volume_id,
        created_at=microseconds(first.created_at),
        updated_at=microseconds(last.updated_at),
    )


def progress(snapshot: Snapshot) -> str:
    """How much of it is there, in percent."""
    return "0%" if snapshot.status == SnapshotStatus.CREATING else "100%"


def _named(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "id": snapshot.id,
        "status": snapshot.status,
        "name": snapshot.name,
        "description": snapshot.description,
        "created_at": microseconds(snapshot.created_at),
        "updated_at": microseconds(snapshot.updated_at),
        "volume_id": snapshot.volume_id,
        "size": snapshot.size_gib,
    }
