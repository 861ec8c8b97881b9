"""What the routes of all services share: who calls, whether they may, and how errors leave.

A route names its permission with `needs`; the policy table decides, OpenAPI shows it as
``x-permission``, and the audit record of a key's use carries the same caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict

from evsd.api.answering import check_body
from evsd.api.claim import Claim, only_asks
from evsd.api.errors import Style
from evsd.api.gateway import Gatekeeper
from evsd.api.router import router as router  # for who declares routes
from evsd.errors import ApiNotFound, DomainNotFound, PublishedError
from evsd.key_channel.call import Call
from evsd.key_client.process import KeyProcess
from evsd.policy import Permission, allowed, is_audited, is_grantable, roles_with
from evsd.principal import Principal
from evsd.service import Host, Service


class Model(BaseModel):
    """Base of request bodies: unknown fields are ignored, as published; text must be text.

    What checks one is built when the first is checked, as the routes are (`router`).
    """

    model_config = ConfigDict(extra="ignore", populate_by_name=True, defer_build=True)


# Coroutines all of them: what is none runs in a thread, which costs more than it does.


@only_asks
async def _principal(request: Request) -> Principal:
    principal: Principal = request.state.principal
    return principal


@only_asks
async def _call(request: Request) -> Call:
    call: Call = request.state.call
    return call


async def _host(request: Request) -> Host:
    host: Host = request.app.state.host
    return host


@only_asks
async def _keys(request: Request) -> KeyProcess | Claim:
    host: Host = request.app.state.host
    claim: Claim | None = getattr(request.state, "claim", None)
    return host.keys if claim is None else claim


@only_asks
async def _region(request: Request) -> str:
    host: Host = request.app.state.host
    return host.region


def uses(kind: type[Service]) -> Any:
    """The dependency of a route on a service's part in evsd."""

    async def find(request: Request) -> Service:
        services: Mapping[type[Service], Service] = request.app.state.services
        return services[kind]

    return Depends(find)


UsesHost = Annotated[Host, Depends(_host)]
UsesKeys = Annotated[KeyProcess | Claim, Depends(_keys)]
UsesRegion = Annotated[str, Depends(_region)]
Caller = Annotated[Call, Depends(_call)]
CallingPrincipal = Annotated[Principal, Depends(_principal)]


def needs(permission: Permission, of_others: Permission | None = None) -> dict[str, Any]:
    """Keyword arguments of a route that needs `permission`.

    On a route about the caller itself, `of_others` is what it takes for another user of the domain;
    only the route knows whom a request is about: it asks `may_administer`.
    """

    async def authorise(request: Request) -> None:
        await _authorise(request, permission)
        request.state.of_others = of_others
        await check_body(request)  # not before: what is refused by policy is recorded as such

    extra = {"x-permission": str(permission)}
    if of_others is not None:
        extra["x-permission-of-others"] = str(of_others)
    return {"dependencies": [Depends(authorise)], "openapi_extra": extra}


def open_to_all(permission: Permission) -> dict[str, Any]:
    """Keyword arguments of a route that answers whoever asks, known or not: see `Gateway`."""
    return {"openapi_extra": {"x-permission": str(permission)}}


async def _authorise(request: Request, permission: Permission) -> None:
    principal: Principal = request.state.principal
    project_id = request.path_params.get("project_id") or _project_in_header(request, principal)
    own = _is_own(request, principal, project_id)
    by_role = own and allowed(permission, principal.roles_in(project_id))
    request.state.call = Call(
        principal=principal.name,
        domain_id=principal.domain_id,
        project_id=project_id[:64],  # it may be anything yet
        source=principal.source,
        request_id=request.state.request_id,
        user_id=principal.id,
        permission=permission,
        by_grant=not by_role,
    )
    request.state.on_record = is_audited(permission)
    domain_id = request.headers.get("x-domain-id", principal.domain_id)
    if domain_id != principal.domain_id:
        raise by_policy(request, DomainNotFound(name=domain_id[:64]))
    if not own:
        style = request.scope["route"].style
        raise by_policy(request, style.foreign_project(project_id=project_id))
    if not by_role and not is_grantable(permission):
        raise forbidden(request, permission)


def _project_in_header(request: Request, principal: Principal) -> str:
    """The project of a path that has none; empty where the route is about no project."""
    style: Style = request.scope["route"].style
    if not style.project_in_header:
        return ""
    gatekeeper: Gatekeeper = request.app.state.gatekeeper
    return request.headers.get("x-project-id") or gatekeeper.default_project(principal) or "-"


def by_policy(request: Request, error: PublishedError) -> PublishedError:
    """A refusal by policy: whatever was asked for, it is recorded."""
    request.state.on_record = True
    return error


def _is_own(request: Request, principal: Principal, project_id: str) -> bool:
    """Whether the project of the path, and what the headers say of it, is the caller's."""
    if not project_id:
        return True
    style = request.scope["route"].style
    if style.in_project and request.headers.get("x-project-id", project_id) != project_id:
        return False
    return owns_project(request, principal, project_id)


def owns_project(request: Request, principal: Principal, project_id: str) -> bool:
    """Whether the project is one of the caller's domain."""
    gatekeeper: Gatekeeper = request.app.state.gatekeeper
    return gatekeeper.has_project(principal, project_id)


def forbidden(request: Request, permission: Permission) -> PublishedError:
    """The refusal of what the caller has no role for, as the route's service draws it."""
    style: Style = request.scope["route"].style
    refusal = style.forbidden(
        user=request.state.principal.name, permission=permission, roles=roles_with(permission)
    )
    return by_policy(request, refusal)


def may_administer(request: Request) -> bool:
    """Whether this route may be used for other users than the caller too."""
    of_others: Permission = request.state.of_others
    return allowed(of_others, request.state.principal.roles)


def require_self_or_administrator(request: Request, user_id: str) -> None:
    """Refuse a request about another user than the caller to whoever may not administer users."""
    if user_id != request.state.principal.id and not may_administer(request):
        raise forbidden(request, request.state.of_others)


def no_such_api(request: Request) -> ApiNotFound:
    """The error of a path no route has."""
    return ApiNotFound(method=request.method, path=request.url.path)
