"""The cloud's own KMS SDK, its operations called by name with plain fields."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from huaweicloudsdkcore.exceptions.exceptions import SdkException

MODELS = importlib.import_module("huaweicloudsdkkms.v2")


class Kms:
    """``kms("create_key", key_alias="a")``: the SDK builds, signs, sends and reads everything."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def __call__(self, operation: str, **fields: Any) -> Any:
        return getattr(self.client, operation)(_request(operation, fields))

    def refusal(self, operation: str, **fields: Any) -> tuple[int, str]:
        """Status and code of an operation that must be refused."""
        with pytest.raises(SdkException) as caught:
            self(operation, **fields)
        error: Any = caught.value
        return error.status_code, error.error_code

    def new_key(self, alias: str, **fields: Any) -> str:
        return str(self("create_key", key_alias=alias, **fields).key_info.key_id)

    def details(self, key_id: str) -> Any:
        return self("list_key_detail", key_id=key_id).key_info

    def state(self, key_id: str) -> str:
        return str(self.details(key_id).key_state)


def _request(operation: str, fields: dict[str, Any]) -> Any:
    name = "".join(part.capitalize() for part in operation.split("_")) + "Request"
    request = getattr(MODELS, name)()
    outside = {field: fields[field] for field in fields if field in request.openapi_types}
    for field, value in outside.items():
        setattr(request, field, value)
    if "body" in request.openapi_types:
        body = getattr(MODELS, request.openapi_types["body"])()
        for field, value in fields.items():
            if field not in outside:
                setattr(body, field, value)
        request.body = body
    return request
