"""What the routes of all services share: who calls, whether they may, and how errors leave.

A route names its permission with `needs`; the policy table decides, OpenAPI shows it as
``x-permission``, and the audit record of a key's use carries the same caller.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from evsd.api.errors import Style
from evsd.attach.service import AttachmentService
from evsd.errors import Internal, NoSuchApi, PublishedError
from evsd.iam.policy import Permission, allowed, roles_with
from evsd.iam.principals import Principal
from evsd.iam.service import IdentityService
from evsd.kms.call import Call
from evsd.kms.client import KeyProcess
from evsd.volumes.service import VolumeService

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Services:
    """What the routes work with."""

    keys: KeyProcess
    identity: IdentityService
    volumes: VolumeService
    attachments: AttachmentService
    region: str


class Model(BaseModel):
    """Base of request bodies: unknown fields are ignored, as published; text must be text."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


def _principal(request: Request) -> Principal:
    principal: Principal = request.state.principal
    return principal


def _call(request: Request) -> Call:
    call: Call = request.state.call
    return call


UsesServices = Annotated[Services, Depends(_services)]
Caller = Annotated[Call, Depends(_call)]
CallingPrincipal = Annotated[Principal, Depends(_principal)]


def needs(permission: Permission) -> dict[str, Any]:
    """Keyword arguments of a route that needs `permission`."""

    def authorise(request: Request) -> None:  # in a thread: it reads the database
        _authorise(request, permission)

    return {
        "dependencies": [Depends(authorise)],
        "openapi_extra": {"x-permission": str(permission)},
    }


def _authorise(request: Request, permission: Permission) -> None:
    principal, style = _principal(request), request.scope["route"].style
    project_id = request.path_params.get("project_id", "")
    named = request.headers.get("x-project-id", project_id)
    if project_id and (
        named != project_id or not _services(request).identity.has_project(principal, project_id)
    ):
        raise style.foreign_project(
            project_id=project_id, user=principal.name, permission=permission, roles="none"
        )
    if not allowed(permission, principal.roles):
        raise style.forbidden(
            user=principal.name, permission=permission, roles=roles_with(permission)
        )
    request.state.call = Call(
        principal=principal.name,
        domain_id=principal.domain_id,
        project_id=project_id,
        source=principal.source,
        request_id=request.state.request_id,
    )


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
            500: "internal error",
            503: "the key service can't be reached",
        }.items()
    }
    return APIRouter(route_class=ServiceRoute, tags=[tag], responses=responses)


async def _answer(
    request: Request, handle: Callable[[Request], Coroutine[Any, Any, Response]], style: Style
) -> Response:
    request_id = request.state.request_id
    try:
        _check_text(await request.body(), style)
        return await handle(request)
    except PublishedError as error:
        return style.respond(error, request_id)
    except RequestValidationError as failed:
        return style.respond(style.of_validation(failed), request_id)
    except HTTPException as error:  # FastAPI's own, for a body that defeats its JSON parser
        return style.respond(style.malformed(field="body", reason=error.detail), request_id)
    except Exception:
        log.exception("request failed", method=request.method, path=request.url.path)
        return style.respond(Internal(request_id=request_id), request_id)


def _check_text(body: bytes, style: Style) -> None:
    """JSON can spell half a character ("\\ud800"), which no database or file can hold."""
    if b"\\ud" not in body.lower():
        return
    try:
        json.dumps(json.loads(body), ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise style.malformed(field="body", reason="it holds half a character") from error
    except (ValueError, RecursionError):
        return  # the route's own parser says it better


def no_such_api(request: Request) -> NoSuchApi:
    """The error of a path no route has."""
    return NoSuchApi(method=request.method, path=request.url.path)
