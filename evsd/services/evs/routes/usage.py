"""What volumes and snapshots take of the pool. Not a published operation: a path of evsd's own."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from evsd.api.fields import VolumeId, microseconds
from evsd.api.router import Router, router
from evsd.api.routes import Caller, Model, needs
from evsd.services.evs.permissions import EvsPermission
from evsd.services.evs.routes.dependencies import UsesEvs
from evsd.services.evs.snapshots.usage import VolumeUsage
from evsd.services.evs.style import EVS


class SnapshotUsageView(Model):
    """A snapshot: `exclusive_bytes` of what it uses come back if it is deleted."""

    id: str
    name: str
    created_at: str
    used_bytes: int
    exclusive_bytes: int


class VolumeUsageView(Model):
    """A volume: of `used_bytes`, which has all, `own_bytes` were written since its last snapshot.

    `hidden_bytes` are of deleted snapshots whose data others need yet, or a server has.
    """

    id: str
    name: str
    size: int
    used_bytes: int
    own_bytes: int
    hidden_bytes: int
    snapshots: list[SnapshotUsageView]


class UsageResponse(Model):
    """Of usage."""

    volumes: list[VolumeUsageView]


routes: Router = router(EVS, "EVS")


@routes.get("/v2/{project_id}/cloudvolumes/usage", **needs(EvsPermission.VOLUME_LIST))
def show_usage(
    call: Caller, evs: UsesEvs, volume_id: Annotated[VolumeId | None, Query()] = None
) -> UsageResponse:
    """What each volume of the project, or one of them, takes of the pool with its snapshots."""
    found = evs.usage.of_project(call.project_id, volume_id)
    return UsageResponse(volumes=[_view(one) for one in found])


def _view(usage: VolumeUsage) -> VolumeUsageView:
    return VolumeUsageView(
        id=usage.volume.id,
        name=usage.volume.name,
        size=usage.volume.size_gib,
        used_bytes=usage.used,
        own_bytes=usage.own,
        hidden_bytes=usage.hidden,
        snapshots=[
            SnapshotUsageView(
                id=each.snapshot.id,
                name=each.snapshot.name,
                created_at=microseconds(each.snapshot.created_at),
                used_bytes=each.used,
                exclusive_bytes=each.exclusive,
            )
            for each in usage.snapshots
        ],
    )
