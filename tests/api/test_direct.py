"""What is answered without FastAPI is answered as by it; and each route is found by its path."""

from __future__ import annotations

import re

import httpx
import pytest

from evsd.api.router import RouteTable
from evsd.services import modules
from tests.support.daemon import Evsd, Object

# The first is answered directly, the second is left to FastAPI.
USUAL, UNUSUAL = "application/json", "application/json; charset=utf-8"
DIRECT = (
    "create-datakey",
    "create-datakey-without-plaintext",
    "encrypt-datakey",
    "decrypt-datakey",
    "encrypt-data",
    "decrypt-data",
    "describe-key",
    "list-keys",
)


@pytest.fixture(scope="module")
def table() -> RouteTable:
    return RouteTable(router for module in modules("routes") for router in module.ROUTERS)


@pytest.mark.parametrize("operation", DIRECT)
def test_operations_that_many_ask_for_need_no_fastapi(table: RouteTable, operation: str) -> None:
    route, _ = table.find("POST", f"/v1.0/1/kms/{operation}")
    assert route is not None
    assert route.direct is not None
    assert route.direct.takes_claims


def test_each_route_is_found_by_its_path(table: RouteTable) -> None:
    for route in table.declared:
        path = re.sub(r"{\w+}", "x", route.path)
        for method in route.methods:
            found, segments = table.find(method, path)
            assert found is route, (method, path)
            assert found.parameters_in(segments) == dict.fromkeys(
                re.findall(r"{(\w+)}", route.path), "x"
            )


@pytest.mark.parametrize("path", ["/v1.0//kms/list-keys", "/v1.0/x/kms/list-keys/", "/v1.0/x/kms"])
def test_no_route_has_a_path_with_a_part_more_less_or_empty(table: RouteTable, path: str) -> None:
    assert table.find("POST", path)[0] is None


def asked(evsd: Evsd, http: httpx.Client, operation: str, body: Object, kind: str) -> Object:
    answer = http.post(
        f"/v1.0/{evsd.project_id()}/kms/{operation}", json=body, headers={"Content-Type": kind}
    )
    told = {name: value for name, value in answer.headers.items() if name != "x-request-id"}
    return {"status": answer.status_code, "headers": told, "body": answer.json()}


def test_the_answer_is_the_same_with_fastapi(shared_evsd: Evsd) -> None:
    key_id = shared_evsd.object("key", "show", "test-key")["key_info"]["key_id"]
    with shared_evsd.http() as http:
        for operation, body in (
            ("describe-key", {"key_id": key_id}),
            ("list-keys", {"limit": "1"}),
            ("list-keys", {"limit": "0"}),
            ("describe-key", {"key_id": "?"}),
            ("describe-key", {}),
            ("create-datakey", {"key_id": key_id, "datakey_length": "9"}),
            ("create-datakey", {"key_id": "00000000-0000-0000-0000-000000000000"}),
            (
                "decrypt-datakey",
                {"key_id": key_id, "cipher_text": "00", "datakey_cipher_length": 64},
            ),
            ("enable-key", {"key_id": key_id}),
        ):
            answers = [asked(shared_evsd, http, operation, body, kind) for kind in (USUAL, UNUSUAL)]
            for answer in answers:
                answer["headers"].pop("date", None)
            assert answers[0] == answers[1], operation
