"""How evsd is: what a person, or a script that watches it, asks first. Our own path."""

from __future__ import annotations

import evsd
from evsd.api.router import Router, router
from evsd.api.routes import CallingPrincipal, Model, UsesHost, needs
from evsd.errors import KeysUnavailable
from evsd.key_channel.shared import Probe
from evsd.key_client.process import PROBE
from evsd.policy import allowed
from evsd.services.evs.permissions import EvsPermission
from evsd.services.evs.style import EVS


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


routes: Router = router(EVS, "status")


@routes.get("/v1/status", response_model_exclude_none=True, **needs(EvsPermission.STATUS_SHOW))
async def show_status(principal: CallingPrincipal, host: UsesHost) -> StatusResponse:
    """Whether keys can be used, the records are up to date, and there is space."""
    try:
        trouble = await host.keys.ask(PROBE, Probe())
    except KeysUnavailable as error:
        trouble = error.message
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
