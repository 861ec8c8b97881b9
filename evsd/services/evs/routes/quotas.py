"""Quotas of projects, as EVS publishes and Cinder sets them; what the pool has, as Cinder's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from fastapi import Query, Request, Response
from pydantic import ConfigDict, Field, StrictInt

from evsd.api.router import Router, router
from evsd.api.routes import Caller, CallingPrincipal, Model, by_policy, needs, owns_project
from evsd.policy import allowed
from evsd.principal import Principal
from evsd.services.evs.errors import EvsRequestInvalid, PoolUnknown
from evsd.services.evs.limits import GIB, MAX_SIZE_GIB
from evsd.services.evs.permissions import EvsPermission
from evsd.services.evs.routes.dependencies import UsesEvs
from evsd.services.evs.style import CINDER, EVS
from evsd.services.evs.volumes.quotas import Limits
from evsd.services.evs.volumes.types import TYPES
from evsd.space import Level

UNLIMITED, MOST = -1, 2**31 - 1
# What the published answer has besides: nothing of it is limited here.
OTHERS = ("backups", "backup_gigabytes")
LIMITED = ("volumes", "gigabytes", "snapshots")

# Quotas as Cinder's limits name them; what there is of them has another word in one case.
IN_LIMITS = {
    "volumes": "Volumes",
    "gigabytes": "VolumeGigabytes",
    "snapshots": "Snapshots",
    "backups": "Backups",
    "backup_gigabytes": "BackupGigabytes",
}
IN_USE = {**IN_LIMITS, "gigabytes": "Gigabytes"}

Limit = Annotated[StrictInt, Field(ge=UNLIMITED, le=MOST)]


class WantedQuota(Model):
    """New limits; -1 is none. Those that are not given stay."""

    model_config = ConfigDict(extra="allow")

    volumes: Limit | None = None
    gigabytes: Limit | None = None
    snapshots: Limit | None = None


class UpdateQuotaBody(Model):
    """Update quota."""

    quota_set: WantedQuota


class QuotaResponse(Model):
    """The limits, or with `usage` what there is of each too, as {in_use, limit, reserved}."""

    quota_set: dict[str, Any]


class LimitsView(Model):
    """What a project may have and has, all in one; there are no limits to how often it asks."""

    rate: list[dict[str, Any]]
    absolute: dict[str, int]


class LimitsResponse(Model):
    """Of show limits."""

    limits: LimitsView


class PoolView(Model):
    """The pool as Cinder shows it; capabilities with `detail` only."""

    name: str
    capabilities: dict[str, Any] | None = None


class PoolsResponse(Model):
    """The pools: one."""

    pools: list[PoolView]


evs: Router = router(EVS, "EVS")
cinder: Router = router(CINDER, "Cinder")
ROUTERS = (evs, cinder)
PATH = "os-quota-sets/{target_project_id}"


@evs.get(f"/v2/{{project_id}}/{PATH}", **needs(EvsPermission.VOLUME_QUOTA_SHOW))
@cinder.get(f"/v3/{{project_id}}/{PATH}", **needs(EvsPermission.VOLUME_QUOTA_SHOW))
def show_quota(
    target_project_id: str,
    request: Request,
    principal: CallingPrincipal,
    evs: UsesEvs,
    usage: Annotated[bool, Query()] = False,
) -> QuotaResponse:
    """How much a project may have, and has."""
    _require_visible(request, principal, target_project_id)
    limits, used = evs.quotas.show(target_project_id)
    shown = _shown(limits)
    if not usage:
        return QuotaResponse(quota_set={"id": target_project_id, **shown})
    taken = used.snapshots
    has = {"volumes": used.volumes, "gigabytes": used.gigabytes, "snapshots": sum(taken.values())}
    for kind in {*TYPES, *used.by_type, *taken}:
        count, gigabytes = used.by_type.get(kind, (0, 0))
        has |= {f"volumes_{kind}": count, f"gigabytes_{kind}": gigabytes}
        has[f"snapshots_{kind}"] = taken.get(kind, 0)
    whole: dict[str, Any] = {
        name: {"in_use": has.get(name, 0), "limit": shown.get(name, UNLIMITED), "reserved": 0}
        for name in {*shown, *has}
    }
    whole["gigabytes"]["reserved"] = used.growing
    return QuotaResponse(quota_set={"id": target_project_id, **dict(sorted(whole.items()))})


@cinder.get(f"/v3/{{project_id}}/{PATH}/defaults", **needs(EvsPermission.VOLUME_QUOTA_SHOW))
def show_default_quota(
    target_project_id: str, request: Request, principal: CallingPrincipal
) -> QuotaResponse:
    """How much a project may have for which nobody has set anything: there is no limit then."""
    _require_visible(request, principal, target_project_id)
    return QuotaResponse(quota_set={"id": target_project_id, **_shown(Limits())})


@cinder.get("/v3/{project_id}/limits", **needs(EvsPermission.VOLUME_QUOTA_SHOW))
def show_limits(call: Caller, evs: UsesEvs) -> LimitsResponse:
    """The same of the project itself, in Cinder's other words, with what it has."""
    limits, used = evs.quotas.show(call.project_id)
    shown = _shown(limits)
    absolute = {f"maxTotal{word}": shown[name] for name, word in IN_LIMITS.items()}
    has = {
        "volumes": used.volumes,
        "gigabytes": used.gigabytes,
        "snapshots": sum(used.snapshots.values()),
    }
    absolute |= {f"total{word}Used": has.get(name, 0) for name, word in IN_USE.items()}
    return LimitsResponse(limits=LimitsView(rate=[], absolute=absolute))


@evs.put(f"/v2/{{project_id}}/{PATH}", **needs(EvsPermission.VOLUME_QUOTA_UPDATE))
@cinder.put(f"/v3/{{project_id}}/{PATH}", **needs(EvsPermission.VOLUME_QUOTA_UPDATE))
def update_quota(
    target_project_id: str, body: UpdateQuotaBody, call: Caller, evs: UsesEvs
) -> QuotaResponse:
    """Set limits of any project. What it has beyond them it keeps."""
    wanted = body.quota_set
    unknown = set(wanted.model_extra or {}) - {"tenant_id", "force"}
    if unknown:
        raise EvsRequestInvalid(
            reason=f"{min(unknown)} has no quota here: {', '.join(LIMITED)} have"
        )
    given = wanted.model_dump(include=set(LIMITED), exclude_none=True)
    changes = {name: None if limit == UNLIMITED else limit for name, limit in given.items()}
    return QuotaResponse(quota_set=_shown(evs.quotas.set(call, target_project_id, **changes)))


@cinder.delete(f"/v3/{{project_id}}/{PATH}", **needs(EvsPermission.VOLUME_QUOTA_UPDATE))
def remove_quota(target_project_id: str, call: Caller, evs: UsesEvs) -> Response:
    """Set no limits to any project."""
    evs.quotas.set(call, target_project_id, **dict.fromkeys(LIMITED))
    return Response()


@cinder.get(
    "/v3/{project_id}/scheduler-stats/get_pools",
    response_model_exclude_none=True,
    **needs(EvsPermission.POOL_SHOW),
)
def list_pools(evs: UsesEvs, detail: Annotated[bool, Query()] = False) -> PoolsResponse:
    """The pool's capacity, and how much of it is promised to volumes."""
    pool = evs.host.space.pool()
    if pool is None:
        raise PoolUnknown()
    name = f"evsd@{evs.host.region}#pool"
    if not detail:
        return PoolsResponse(pools=[PoolView(name=name)])
    space, promised = pool.space, evs.quotas.promised()
    capabilities = {
        "backend_state": "down" if pool.level == Level.READ_ONLY else "up",
        "total_capacity_gb": round(space.total / GIB, 2) if space.total else "infinite",
        "free_capacity_gb": round(space.free / GIB, 2) if space.total else "infinite",
        "used_capacity_gb": round(space.used / GIB, 2),
        "allocated_capacity_gb": promised,
        "provisioned_capacity_gb": promised,
        "overcommit_ratio": round(promised * GIB / space.total, 2) if space.total else 0.0,
        "thin_provisioning_support": True,
        "thick_provisioning_support": True,
        "storage_protocol": "nbd",
        "driver_version": "evsd",
        "space_state": str(pool.level),
        "directory": str(pool.directory),
    }
    return PoolsResponse(pools=[PoolView(name=name, capabilities=capabilities)])


def _require_visible(request: Request, principal: Principal, project_id: str) -> None:
    """A project of the caller's, or for the operator any; others look like missing ones."""
    if allowed(EvsPermission.VOLUME_QUOTA_UPDATE, principal.roles):
        return
    own = owns_project(request, principal, project_id)
    if not (own and allowed(EvsPermission.VOLUME_QUOTA_SHOW, principal.roles_in(project_id))):
        style = request.scope["route"].style
        raise by_policy(request, style.foreign_project(project_id=project_id[:64]))


def _shown(limits: Limits) -> dict[str, int]:
    def number(limit: int | None) -> int:
        return UNLIMITED if limit is None else limit

    others: Iterable[str] = OTHERS
    return {
        "volumes": number(limits.volumes),
        "gigabytes": number(limits.gigabytes),
        "snapshots": number(limits.snapshots),
        "per_volume_gigabytes": MAX_SIZE_GIB,
        **dict.fromkeys(others, UNLIMITED),
    }
