"""How IAM draws an error."""

from __future__ import annotations

from typing import Any

from evsd.api.errors import Style
from evsd.errors import PublishedError
from evsd.services.iam import errors as e


def _iam_body(error: PublishedError) -> dict[str, Any]:
    return {"error_code": error.code, "error_msg": error.text}


IAM = Style(
    body=_iam_body,
    malformed=e.IamRequestInvalid,
    missing=e.IamRequestInvalid,
    invalid=e.IamRequestInvalid,
    forbidden=e.IamForbidden,
    foreign_project=e.IamProjectNotFound,
    in_project=False,
)
