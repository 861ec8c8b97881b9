"""The application: all routes behind the gateway."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

import evsd
from evsd.api.errors import gateway_body
from evsd.api.gateway import Gatekeeper, Gateway
from evsd.api.routes import no_such_api
from evsd.service import Host, Service


def build_app(
    routes: Sequence[ModuleType],
    host: Host | None = None,
    services: Iterable[Service] = (),
    gatekeeper: Gatekeeper | None = None,
) -> FastAPI:
    """The ASGI application of the services' `routes` modules.

    Without what they work with it can only describe itself (OpenAPI).
    """
    app = FastAPI(
        title="evsd",
        version=evsd.__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # SDKs follow no redirect, and take one for done
    )
    open_paths: frozenset[str] = frozenset()
    for module in routes:
        open_paths |= getattr(module, "OPEN_PATHS", frozenset())
        for router in module.ROUTERS:
            app.include_router(router)
    app.openapi = lambda: _described(app)  # type: ignore[method-assign]
    app.add_exception_handler(HTTPException, _no_route)
    app.state.host = host
    app.state.services = {type(service): service for service in services}
    app.state.gatekeeper = gatekeeper
    if gatekeeper is not None:
        app.add_middleware(Gateway, gatekeeper=gatekeeper, open_paths=open_paths)
    return app


def _described(app: FastAPI) -> dict[str, Any]:
    """OpenAPI as the routes say it, less FastAPI's own 422: bad fields get published codes."""
    schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
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
    error = no_such_api(request)
    return JSONResponse(gateway_body(error, request.state.request_id), error.status)
