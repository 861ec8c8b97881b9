"""What the routes of all services share: who calls, whether they may, and how errors leave.

A route names its permission with `needs`; the policy table decides, OpenAPI shows it as
``x-permission``, and the audit record of a key's use carries the same caller.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from evsd.api import json_body
from evsd.api.errors import Style
from evsd.api.gateway import Gatekeeper
from evsd.errors import (
    ApiNotFound,
    DomainNotFound,
    InternalError,
    KeysUnavailable,
    PublishedError,
    StorageError,
)
from evsd.key_channel.call import Call
from evsd.key_channel.shared import RecordRefusal
from evsd.key_client.process import KeyProcess
from evsd.policy import Permission, allowed, is_audited, is_grantable, roles_with
from evsd.principal import Principal
from evsd.service import Host, Service

# What bodies may name without giving away what is secret or long.
NAMES = {"key_id", "key_alias", "grant_id", "name", "user_id", "agency_name", "domain_name"}

log = structlog.get_logger()


class Model(BaseModel):
    """Base of request bodies: unknown fields are ignored, as published; text must be text."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)


# Coroutines all of them: what is none runs in a thread, which costs more than it does.


async def _principal(request: Request) -> Principal:
    principal: Principal = request.state.principal
    return principal


async def _call(request: Request) -> Call:
    call: Call = request.state.call
    return call


async def _host(request: Request) -> Host:
    host: Host = request.app.state.host
    return host


async def _keys(request: Request) -> KeyProcess:
    host: Host = request.app.state.host
    return host.keys


def uses(kind: type[Service]) -> Any:
    """The dependency of a route on a service's part in evsd."""

    async def find(request: Request) -> Service:
        services: Mapping[type[Service], Service] = request.app.state.services
        return services[kind]

    return Depends(find)


UsesHost = Annotated[Host, Depends(_host)]
UsesKeys = Annotated[KeyProcess, Depends(_keys)]
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
        await _check_body(request)  # not before: what is refused by policy is recorded as such

    extra = {"x-permission": str(permission)}
    if of_others is not None:
        extra["x-permission-of-others"] = str(of_others)
    return {"dependencies": [Depends(authorise)], "openapi_extra": extra}


def open_to_all(permission: Permission) -> dict[str, Any]:
    """Keyword arguments of a route that answers whoever asks, known or not: see `Gateway`."""
    return {"openapi_extra": {"x-permission": str(permission)}}


async def _authorise(request: Request, permission: Permission) -> None:
    principal: Principal = request.state.principal
    project_id = request.path_params.get("project_id", "")
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


def router(style: Style, tag: str) -> APIRouter:
    """A router whose errors leave in its service's style."""

    class ServiceRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def answer(request: Request) -> Response:
                return await _answer(request, handle, style)

            return answer

    ServiceRoute.style = style  # type: ignore[attr-defined]
    responses: dict[int | str, dict[str, Any]] = {
        status: {"description": text}
        for status, text in {
            400: "bad request",
            401: "not signed",
            403: "not allowed",
            404: "not found",
            408: "the body came too slowly",
            409: "exists already",
            413: "the body is too long",
            500: "internal error",
            503: "the key service can't be reached",
            507: "a filesystem of evsd's is full",
        }.items()
    }
    return APIRouter(route_class=ServiceRoute, tags=[tag], responses=responses)


async def _answer(
    request: Request, handle: Callable[[Request], Coroutine[Any, Any, Response]], style: Style
) -> Response:
    try:
        return await _handled(request, handle, style)
    except PublishedError as error:
        return await _refuse(request, error, style)
    except Exception:
        log.exception("request failed", method=request.method, path=request.url.path)
        return await _refuse(request, InternalError(request_id=request.state.request_id), style)


async def _handled(
    request: Request, handle: Callable[[Request], Coroutine[Any, Any, Response]], style: Style
) -> Response:
    """What the route answers; what FastAPI has against a request is raised as the service's own."""
    try:
        return await handle(request)
    except RequestValidationError as failed:
        await _check_body(request)
        raise style.of_validation(failed) from failed
    except HTTPException as error:  # FastAPI's own, for a body that defeats its JSON parser
        await _check_body(request)
        raise style.malformed(field="body", reason=error.detail) from error


async def _check_body(request: Request) -> None:
    route = request.scope["route"]
    if route.body_field is not None:
        json_body.check(request, await request.body(), route.style)


async def _refuse(request: Request, error: PublishedError, style: Style) -> Response:
    """The answer to a refused request, once the refusal is on record, if it has to be."""
    if _belongs_on_record(request, error):
        try:
            await _record(request, error)
        except PublishedError as unrecorded:
            error = unrecorded
    return style.respond(error, request.state.request_id)


def _belongs_on_record(request: Request, error: PublishedError) -> bool:
    """Whether nobody has recorded it yet; one that evsd-keys gave no answer to nobody can."""
    wanted: bool = getattr(request.state, "on_record", False)
    return wanted and not (error.recorded or isinstance(error, KeysUnavailable | StorageError))


async def _record(request: Request, error: PublishedError) -> None:
    """A refusal that evsd-keys never hears of is recorded there all the same."""
    host: Host = request.app.state.host
    key_id, context = await _named(request)
    action = request.scope["route"].name.replace("_", "-")
    await host.keys.ask(request.state.call, RecordRefusal(action, key_id, error.code, context))


async def _named(request: Request) -> tuple[str, dict[str, str]]:
    """The key a request is about, and what else it names in path, body and headers."""
    named: dict[str, str] = {}
    body = await request.body()
    with contextlib.suppress(ValueError, RecursionError):  # no JSON may be why it was refused
        _collect(json.loads(body), named)
    named |= {name: _shortened(str(value)) for name, value in request.path_params.items()}
    for name in ("x-domain-id", "x-project-id"):
        if name in request.headers:
            named[name] = _shortened(request.headers[name])
    named.pop("project_id", None)  # the record has it
    return named.pop("key_id", ""), named


def _collect(body: object, named: dict[str, str]) -> None:
    if isinstance(body, dict):
        for name, value in body.items():
            if name in NAMES and isinstance(value, str):
                named[name] = _shortened(value)
            _collect(value, named)


def _shortened(text: str) -> str:
    """As much as an id may have; half a character (see `json_body`) would make no record."""
    return text[:64].encode(errors="replace").decode()


def no_such_api(request: Request) -> ApiNotFound:
    """The error of a path no route has."""
    return ApiNotFound(method=request.method, path=request.url.path)
