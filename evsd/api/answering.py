"""How requests end: with what the route answers, or the error as its service draws it.

A refusal that belongs on record is recorded before it is answered.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import structlog
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from evsd.api import json_body
from evsd.api.errors import Style
from evsd.errors import InternalError, KeysUnavailable, PublishedError, StorageError
from evsd.key_channel.shared import RecordRefusal
from evsd.service import Host

# What bodies may name without giving away what is secret or long.
NAMES = {"key_id", "key_alias", "grant_id", "name", "user_id", "agency_name", "domain_name"}

Answer = TypeVar("Answer")
Handle = Callable[[Request], Coroutine[Any, Any, Response]]

log = structlog.get_logger()


async def answered(
    request: Request, handle: Callable[[Request], Coroutine[Any, Any, Answer]], style: Style
) -> Answer | Response:
    """The answer to a request, whatever comes of it."""
    try:
        request.state.headers = style.headers(request)
        return await handle(request)
    except PublishedError as error:
        return await _refuse(request, error, style)
    except Exception:
        log.exception("request failed", method=request.method, path=request.url.path)
        return await _refuse(request, InternalError(request_id=request.state.request_id), style)


async def checked(request: Request, handle: Handle, style: Style) -> Response:
    """What the route answers; what FastAPI has against a request is raised as the service's own."""
    try:
        return await handle(request)
    except RequestValidationError as failed:
        await check_body(request)
        raise style.of_validation(failed) from failed
    except HTTPException as error:  # FastAPI's own, for a body that defeats its JSON parser
        await check_body(request)
        raise style.malformed(field="body", reason=error.detail) from error


async def check_body(request: Request) -> None:
    """Raise the service's error for a body that is no JSON, where the route takes one."""
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
    return style.respond(error, request)


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
    streamed = getattr(request.scope["route"], "streams", False)
    body = b"" if streamed else await request.body()
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
