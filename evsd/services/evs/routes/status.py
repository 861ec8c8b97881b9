"""How evsd is: what a person, or a script that watches it, asks first. Our own path."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from pydantic import ConfigDict

import evsd
from evsd.api.fields import microseconds
from evsd.api.router import Router, router
from evsd.api.routes import Caller, CallingPrincipal, Model, UsesHost, needs
from evsd.errors import KeysUnavailable
from evsd.key_channel.shared import Probe
from evsd.key_client.process import PROBE
from evsd.policy import allowed
from evsd.service import Host
from evsd.services.evs.permissions import EvsPermission
from evsd.services.evs.style import CINDER, EVS
from evsd.store.database import utcnow


class FilesystemView(Model):
    """How a filesystem is off for space; where and how much is for the operator to see."""

    holds: str
    state: str
    directory: str | None = None
    total_bytes: int | None = None
    free_bytes: int | None = None


class StatusResponse(Model):
    """Of evsd itself. `keys` is ``usable``, or why they aren't."""

    version: str
    region: str
    keys: str
    database: str
    filesystems: list[FilesystemView]


class ServiceView(Model):
    """A process as Cinder shows it."""

    binary: str
    host: str
    zone: str
    status: str = "enabled"
    state: str = "up"
    updated_at: str
    disabled_reason: str | None = None


class ServicesResponse(Model):
    """Of list services."""

    services: list[ServiceView]


class ServicesQuery(Model):
    """Filters of the list."""

    model_config = ConfigDict(extra="forbid")

    binary: str | None = None
    host: str | None = None

    def wants(self, service: ServiceView) -> bool:
        """Whether it is one of those that are asked for."""
        return self.binary in (None, service.binary) and self.host in (None, service.host)


routes: Router = router(EVS, "status")
cinder: Router = router(CINDER, "Cinder")
ROUTERS = (routes, cinder)


@routes.get("/v1/status", response_model_exclude_none=True, **needs(EvsPermission.STATUS_SHOW))
async def show_status(principal: CallingPrincipal, host: UsesHost) -> StatusResponse:
    """Whether keys can be used, the records are up to date, and there is space."""
    trouble = await _trouble_with_keys(host)
    operator = allowed(EvsPermission.POOL_SHOW, principal.roles)
    return StatusResponse(
        version=evsd.__version__,
        region=host.region,
        keys=trouble or "usable",
        database="restored" if host.database.restored else "ok",
        filesystems=[
            FilesystemView(
                holds=each.holds,
                state=str(each.level),
                directory=str(each.directory) if operator else None,
                total_bytes=each.space.total if operator else None,
                free_bytes=each.space.free if operator else None,
            )
            for each in host.space.filesystems()
        ],
    )


@cinder.get("/v3/{project_id}/os-services", **needs(EvsPermission.STATUS_SHOW))
async def list_services(
    host: UsesHost, _call: Caller, query: Annotated[ServicesQuery, Query()]
) -> ServicesResponse:
    """Evsd and its key process, as Cinder lists what it consists of."""
    trouble = await _trouble_with_keys(host)
    now = microseconds(utcnow())
    found = [
        ServiceView(binary="evsd", host=host.region, zone=host.zone, updated_at=now),
        ServiceView(
            binary="evsd-keys",
            host=host.region,
            zone=host.zone,
            updated_at=now,
            state="down" if trouble else "up",
        ),
    ]
    return ServicesResponse(services=[one for one in found if query.wants(one)])


async def _trouble_with_keys(host: Host) -> str:
    """Why keys can't be used; empty where they can."""
    try:
        return await host.keys.ask(PROBE, Probe())
    except KeysUnavailable as error:
        return error.message
