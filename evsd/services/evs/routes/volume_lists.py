"""EVS API: lists of volumes, by filters; by tags they are in `tags`."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request

from evsd.api.router import Router, router
from evsd.api.routes import Caller, Model, needs
from evsd.services.evs.permissions import EvsPermission
from evsd.services.evs.routes.dependencies import UsesEvs
from evsd.services.evs.routes.volume_filters import EvsQuery, OnceEach, next_page
from evsd.services.evs.routes.volume_views import VolumeView, views
from evsd.services.evs.style import EVS


class ListVolumesResponse(Model):
    """Of list."""

    count: int
    volumes: list[VolumeView]
    volumes_links: list[dict[str, str]]


routes: Router = router(EVS, "EVS")
LISTING = needs(EvsPermission.VOLUME_LIST)


@routes.get("/v2/{project_id}/cloudvolumes/detail", **LISTING)
@routes.get("/v2/{project_id}/os-vendor-volumes/detail", **LISTING)
@routes.get("/v3/{project_id}/os-vendor-volumes/detail", **LISTING)
def list_volumes(
    query: Annotated[EvsQuery, Query()],
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
    links = [next_page(request, found.records[-1].id)] if found.more else []
    shown = views(evs, call.project_id, found.records)
    return ListVolumesResponse(count=found.total, volumes=shown, volumes_links=links)
