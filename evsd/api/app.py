"""The application: all routes behind the gateway."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

import evsd
from evsd.api.claim import Claim
from evsd.api.direct import Direct
from evsd.api.errors import gateway_response
from evsd.api.gateway import Gatekeeper, Gateway, refuse
from evsd.api.router import RouteTable
from evsd.api.routes import no_such_api
from evsd.errors import PublishedError
from evsd.service import Host, Service


def build_app(
    routes: Sequence[ModuleType],
    gatekeeper: Gatekeeper,
    host: Host | None = None,
    services: Iterable[Service] = (),
) -> Gateway:
    """The ASGI application of the services' `routes` modules."""
    table = _table(routes)
    app = FastAPI(
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # SDKs follow no redirect, and take one for done
    )
    app.router.routes.append(table)
    app.add_exception_handler(HTTPException, _no_route)
    app.state.host = host
    app.state.services = {type(service): service for service in services}
    app.state.gatekeeper = gatekeeper
    open_paths: Iterable[frozenset[str]] = (
        getattr(module, "OPEN_PATHS", frozenset()) for module in routes
    )
    return Gateway(_Routes(table, app), gatekeeper, frozenset().union(*open_paths))


def _table(routes: Sequence[ModuleType]) -> RouteTable:
    return RouteTable(router for module in routes for router in module.ROUTERS)


class _Routes:
    """Behind the gateway: what can be answered directly is, all else by FastAPI."""

    def __init__(self, table: RouteTable, app: FastAPI) -> None:
        self._table, self._app = table, app

    def takes_claims(self, scope: Scope) -> bool:
        """Whether a request is for a route that its caller may be let in to before it is known."""
        found = scope["found"] = self._find(scope)
        return found is not None and found[0].takes_claims

    def reads_itself(self, scope: Scope) -> bool:
        """Whether the body is for the route to read, in pieces."""
        route, _ = self._table.find(scope["method"], scope["path"])
        return route is not None and scope["method"] in route.methods and route.streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        found = scope["found"] if "found" in scope else self._find(scope)
        answer = None
        if found is not None:
            scope["app"] = self._app
            direct, parameters = found
            body = scope["state"]["body"]
            answer = await direct.answer(Request(scope, receive), parameters, body)
        refusal = await self._refusal(scope["state"])
        if refusal is not None:
            await refuse(refusal, scope, receive, send)
        elif answer is not None:
            await answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _refusal(self, state: dict[str, Any]) -> PublishedError | None:
        """Why the caller is nobody after all, whatever its request has come to."""
        claim: Claim | None = state.get("claim")
        if claim is None:
            return None
        with contextlib.suppress(PublishedError):
            await claim.settle()
        if claim.refusal is not None:
            del state["principal"]
        return claim.refusal

    def _find(self, scope: Scope) -> tuple[Direct, dict[str, str]] | None:
        route, segments = self._table.find(scope["method"], scope["path"])
        if route is None or scope["method"] not in route.methods or route.direct is None:
            return None
        return route.direct, route.parameters_in(segments)


def described(modules: Sequence[ModuleType]) -> dict[str, Any]:
    """OpenAPI as the routes say it, less FastAPI's own 422: bad fields get published codes."""
    routes = [route.prepared for route in _table(modules).declared]
    schema = get_openapi(title="evsd", version=evsd.__version__, routes=routes)
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            _declare_path_parameters(path, operation)
    for name in ("HTTPValidationError", "ValidationError"):
        schema["components"]["schemas"].pop(name, None)
    return schema


def _declare_path_parameters(path: str, operation: dict[str, Any]) -> None:
    """FastAPI knows of those a function takes; the project is read by `needs` instead."""
    parameters = operation.setdefault("parameters", [])
    known = {parameter["name"] for parameter in parameters}
    for name in re.findall(r"{(\w+)}", path):
        if name not in known:
            parameters.append(
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            )


async def _no_route(request: Request, _error: Exception) -> JSONResponse:
    return gateway_response(no_such_api(request), request.scope)
