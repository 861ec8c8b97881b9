"""How each service draws an error, and which published code a bad field has.

The errors themselves are in `evsd.errors`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.types import Scope

from evsd import errors as e
from evsd.errors import PublishedError

JSON_TYPE = "Content-Type: application/json"
Body = Callable[[PublishedError], dict[str, Any]]
Headers = Iterable[tuple[bytes, bytes]]


def no_headers(request: Request) -> dict[str, str]:
    """What answers say in their headers where nothing is published: no more than all do."""
    del request
    return {}


@dataclass(frozen=True, slots=True)
class Style:
    """One service's way to answer errors.

    `fields` maps a request field to the error it has when it is malformed; `malformed` is for a
    body that isn't JSON, `missing` for a field that isn't there, `invalid` for all other fields.
    """

    body: Body
    malformed: type[PublishedError]
    missing: type[PublishedError]
    invalid: type[PublishedError]
    forbidden: type[PublishedError]
    foreign_project: type[PublishedError]
    # Whether a project in the path is what the request works in, as X-Project-Id says too. Of IAM
    # it is a thing like others.
    in_project: bool = True
    # Whether paths without a project work in the one that X-Project-Id names, or in the caller's
    # default one.
    project_in_header: bool = False
    # What all its answers say in their headers; it may refuse what a request says in its own.
    headers: Callable[[Request], dict[str, str]] = no_headers
    storage: type[PublishedError] | None = None  # what a `StorageError` is here, if it differs
    fields: Mapping[str, type[PublishedError]] = field(default_factory=dict)

    def respond(self, error: PublishedError, request: Request) -> JSONResponse:
        """The error as this service publishes it; the gateway's own are the same everywhere."""
        if self.storage is not None and isinstance(error, e.StorageError):
            error = e.retold(error, self.storage)
        gateway = isinstance(error, e.CallerUnknown | e.ApiNotFound)
        if gateway:
            return gateway_response(error, request.scope)
        return JSONResponse(self.body(error), error.status)

    def of_validation(self, failed: RequestValidationError) -> PublishedError:
        """The published error of the first thing that is wrong with a request."""
        first = failed.errors()[0]
        reason = str(first["msg"]).removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            reason = "it is not known here, and nothing that narrows a list is ignored"
        if first["type"] == "json_invalid":
            return self.malformed(field="body", reason=first.get("ctx", {}).get("error", reason))
        if first["type"] == "missing" and first["loc"] == ("body",):
            return self.missing(field=f"body (JSON, with {JSON_TYPE})", reason=reason)
        names = [str(part) for part in first["loc"][1:] if isinstance(part, str)]
        name = next((n for n in reversed(names) if n in self.fields), ".".join(names) or "body")
        if first["type"] == "missing" and name not in self.fields:
            return self.missing(field=name, reason=reason)
        value = None if first["type"] == "missing" else _shorten(first["input"])
        return self.fields.get(name, self.invalid)(field=name, value=value, reason=reason)


def _shorten(value: object) -> object:
    text = str(value)
    return value if len(text) <= 64 else text[:61] + "..."


# OpenStack's names of what went wrong, by status.
_FAULTS = {
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    409: "conflictingRequest",
    413: "overLimit",
    429: "overLimit",
    503: "serviceUnavailable",
}


def fault_body(error: PublishedError) -> dict[str, Any]:
    """An error as OpenStack's services draw it; the published code is for our own client."""
    kind = _FAULTS.get(error.status, "badRequest" if error.status < 500 else "computeFault")
    return {kind: {"code": error.status, "message": error.text, "error_code": error.code}}


def gateway_response(error: PublishedError, scope: Scope) -> JSONResponse:
    """The answer to a request of which no service has heard, or that it left to the gateway."""
    body = gateway_body(error, scope["state"]["request_id"], scope["headers"])
    return JSONResponse(body, error.status)


def gateway_body(error: PublishedError, request_id: str, headers: Headers = ()) -> dict[str, Any]:
    """The API gateway's own errors, as the client understands them that has sent these headers.

    `message` is what clients made for other clouds show. OpenStack's want nothing but objects.
    """
    if _by_openstack(headers):
        return fault_body(error)
    return {
        "error_code": error.code,
        "error_msg": error.text,
        "message": error.text,
        "request_id": request_id,
    }


def _by_openstack(headers: Headers) -> bool:
    """Whether it shows who it is by HTTP Basic or a token: those who sign are the cloud's."""
    return any(
        name == b"x-auth-token" or (name == b"authorization" and value[:5].lower() == b"basic")
        for name, value in headers
    )
