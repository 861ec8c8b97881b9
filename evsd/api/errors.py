"""How each service draws an error, and which published code a bad field has.

The errors themselves are in `evsd.errors`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from evsd import errors as e
from evsd.errors import PublishedError

JSON_TYPE = "Content-Type: application/json"
Body = Callable[[PublishedError], dict[str, Any]]


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
    storage: type[PublishedError] | None = None  # what a `StorageError` is here, if it differs
    fields: Mapping[str, type[PublishedError]] = field(default_factory=dict)

    def respond(self, error: PublishedError, request_id: str) -> JSONResponse:
        """The error as this service publishes it; the gateway's own are the same everywhere."""
        if self.storage is not None and isinstance(error, e.StorageError):
            error = e.retold(error, self.storage)
        gateway = isinstance(error, e.CallerUnknown | e.ApiNotFound)
        body = gateway_body(error, request_id) if gateway else self.body(error)
        return JSONResponse(body, error.status)

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


def gateway_body(error: PublishedError, request_id: str) -> dict[str, Any]:
    """The API gateway's own errors; `message` is what clients made for other clouds show."""
    return {
        "error_code": error.code,
        "error_msg": error.text,
        "message": error.text,
        "request_id": request_id,
    }
