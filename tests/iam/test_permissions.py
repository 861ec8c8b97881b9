"""Every route x every role x the own and a foreign tenant, asked over HTTP.

What is expected is read from the committed docs/permissions.md, not from the policy table.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.daemon import Evsd
from tests.support.identity import Caller, Tenant

DOCS = Path(__file__).parent.parent.parent / "docs"
MISSING_UUID = "00000000-0000-4000-8000-000000000000"
MISSING_ID = "0" * 32
MISSING = {
    "project_id": "1" * 32,
    "domain_id": "2" * 32,
    "user_id": "3" * 32,
    "group_id": "4" * 32,
    "agency_id": "5" * 32,
    "access": "A" * 20,
    "token_id": "B" * 20,
    "key_id": MISSING_UUID,
    "volume_id": MISSING_UUID,
    # Not the same: an answer may name one of two that a request has.
    "snapshot_id": "00000000-0000-4000-8000-000000000001",
    "snapshot_group_id": "00000000-0000-4000-8000-000000000002",
    "attachment_id": MISSING_UUID,
    "job_id": MISSING_UUID,
    "image_id": MISSING_UUID,
    "role_id": "readonly",
    "region_id": "elsewhere",
}
# What else bodies ask for, so that a request is refused for its ids and for nothing else.
VALUES: dict[str, Any] = {
    "key_alias": "of-a-test",
    "datakey_length": "512",
    "cipher_text": "00" * 188,
    "plain_text": "00" * 64,
    "datakey_plain_length": "32",
    "datakey_cipher_length": "64",
    "random_data_length": "512",
    "pending_days": "7",
    "rotation_interval": 30,
    "operations": ["create-datakey"],
    "grantee_principal": MISSING_ID,
    "grant_id": "0" * 64,
    "name": "of-a-test",
    "size": 1,
    "methods": ["token"],
    "trust_domain_name": "op_svc_evs",
    "status": "active",
    "enabled": True,
}
# The same things under other names.
SAME = {"volume_uuid": "volume_id", "parent_id": "project_id", "__system__cmkid": "key_id"}
# What is about one user says so in the body or as an access key.
CREDENTIALS, CREDENTIAL = (
    "/v3.0/OS-CREDENTIAL/credentials",
    "/v3.0/OS-CREDENTIAL/credentials/{access}",
)
SECURITY_TOKENS = "/v3.0/OS-CREDENTIAL/securitytokens"
TOKENS, TOKEN = "/v3.0/OS-CREDENTIAL/tokens", "/v3.0/OS-CREDENTIAL/tokens/{token_id}"


# A body that is read in pieces: its hash is signed before it is sent.
STREAM = b"no image"
OF_STREAM = {"X-Sdk-Content-Sha256": hashlib.sha256(STREAM).hexdigest()}


@dataclass(frozen=True)
class Route:
    """One line of the matrix."""

    method: str
    path: str
    cells: dict[str, str]
    body: dict[str, Any] | None = field(default=None, hash=False)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def parameters(self) -> list[str]:
        return re.findall(r"{(\w+)}", self.path)


OPENAPI = json.loads((DOCS / "openapi.json").read_text())


def matrix() -> list[Route]:
    lines = [
        [cell.strip().strip("`") for cell in line.strip("|\n").split("|")]
        for line in (DOCS / "permissions.md").read_text().splitlines()
        if line.startswith("|")
    ]
    heads = lines[0][2:]
    routes = []
    for route, _permission, *cells in lines[2:]:
        method, path = route.split(" ")
        operation = OPENAPI["paths"][path][method.lower()]
        schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        body = example(schema.get("schema", {})) if schema else None
        routes.append(Route(method, path, dict(zip(heads, cells, strict=True)), body))
    return routes


def example(schema: dict[str, Any], name: str = "") -> Any:
    """A body of this schema, with every id it can hold by the name of the id."""
    if "$ref" in schema:
        schema = OPENAPI["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    if "anyOf" in schema:
        return example(schema["anyOf"][0], name)
    known = SAME.get(name, name)
    if known in MISSING:
        return f"{{{known}}}"
    if name in VALUES:
        return VALUES[name]
    if schema.get("type") == "object" or "properties" in schema:
        wanted = schema.get("required", [])
        return {
            one: example(inner, one)
            for one, inner in schema.get("properties", {}).items()
            if one in wanted or SAME.get(one, one) in MISSING
        }
    return {"string": "x", "integer": 900, "boolean": True, "array": []}.get(schema.get("type", ""))


ROUTES = matrix()
WITH_IDS = [route for route in ROUTES if "{" in route.path or "{" in json.dumps(route.body)[1:]]


def ask(http: httpx.Client, route: Route, ids: dict[str, str], body: Any = None) -> httpx.Response:
    others = dict.fromkeys(route.parameters, "other")  # no ids of anything
    path = route.path.format(**{**others, **ids})
    if OPENAPI["paths"].get(route.path, {}).get(route.method.lower(), {}).get("x-streamed"):
        return http.request(route.method, path, content=STREAM, headers=OF_STREAM)
    filled = fill(route.body if body is None else body, ids)
    return http.request(route.method, path, json=filled)


def fill(body: Any, ids: dict[str, str]) -> Any:
    if isinstance(body, dict):
        return {name: fill(value, ids) for name, value in body.items()}
    if isinstance(body, str) and body.startswith("{"):
        return ids[body.strip("{}")]
    return body


def forbidden(response: httpx.Response) -> bool:
    return response.status_code == 403 and (not response.content or "may not do" in response.text)


def own_ids(caller: Caller) -> dict[str, str]:
    return {**MISSING, "project_id": caller.project_id, "domain_id": caller.domain_id}


def test_the_matrix_has_every_route_and_every_role(callers: dict[str, Caller]) -> None:
    described = {
        (method.upper(), path)
        for path, operations in OPENAPI["paths"].items()
        for method in operations
    }
    assert {(route.method, route.path) for route in ROUTES} == described
    assert set(ROUTES[0].cells) == {*callers, "operator"}


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_a_role_may_do_what_the_matrix_says_and_nothing_else(
    route: Route, callers: dict[str, Caller], acme: Tenant, own: dict[str, str]
) -> None:
    seen = {}
    for role, caller in callers.items():
        cell = route.cells[role]
        if cell in ("own", "all"):
            seen[role] = _own_or_all(route, caller, acme.administrator)
        elif "grant" in route.cells.values():  # refused only when the key is known
            seen[role] = "grant" if forbidden(ask(caller.http, route, own)) else "yes"
        else:
            seen[role] = "" if forbidden(ask(caller.http, route, own_ids(caller), {})) else "yes"
    assert seen == {role: route.cells[role] for role in callers}


def _own_or_all(route: Route, caller: Caller, other: Caller) -> str:
    """Which users' things a caller may ask for: all of the domain's, or its own only."""
    mine, theirs = own_ids(caller), own_ids(caller)
    mine |= {"user_id": caller.user_id, "access": caller.pair["access"]}
    theirs |= {"user_id": other.user_id, "access": other.pair["access"]}
    bodies: tuple[Any, Any] = ({}, {})
    if route.path == SECURITY_TOKENS:
        assumed = {"agency_name": "missing", "domain_name": "globex"}
        bodies = (
            {"auth": {"identity": {"methods": ["token"]}}},
            {"auth": {"identity": {"methods": ["assume_role"], "assume_role": assumed}}},
        )
    if (route.method, route.path) == ("POST", CREDENTIALS):
        bodies = ({"credential": {}}, {"credential": {"user_id": "{user_id}"}})
    if (route.method, route.path) in (("GET", CREDENTIALS), ("GET", TOKENS)):
        theirs_path = Route("GET", f"{route.path}?user_id={{user_id}}", {})
        return "own" if forbidden(ask(caller.http, theirs_path, theirs)) else "all"
    if (route.method, route.path) == ("DELETE", CREDENTIAL):
        victim = other.ask("POST", CREDENTIALS, {"credential": {}})["credential"]["access"]
        gone = ask(caller.http, route, {**theirs, "access": victim}).status_code == 204
        if not gone:
            other.ask("DELETE", f"{CREDENTIALS}/{victim}")
        return "all" if gone else "own"
    if (route.method, route.path) == ("DELETE", TOKEN):
        victim = other.ask("POST", TOKENS, {"token": {}})["token"]["id"]
        gone = ask(caller.http, route, {**theirs, "token_id": victim}).status_code == 204
        return "all" if gone else "own"
    if (route.method, route.path) == ("PUT", CREDENTIAL):
        bodies = ({"credential": {"status": "active"}},) * 2
    own = ask(caller.http, route, mine, bodies[0])
    assert not forbidden(own), own.text
    others = ask(caller.http, route, theirs, bodies[1])
    if route.path == CREDENTIAL:  # a key one may not see is not there
        return "own" if others.status_code == 404 else "all"
    return "own" if forbidden(others) else "all"


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_the_operator_is_an_administrator_who_also_makes_domains(
    route: Route, evsd_of_tenants: Evsd
) -> None:
    with evsd_of_tenants.http() as http:
        projects = http.get("/v3/projects").json()["projects"]
        ids = {**MISSING, "project_id": projects[0]["id"], "domain_id": projects[0]["domain_id"]}
        response = ask(http, route, ids, {})
    held = ("operator", "Security Administrator", "Tenant Administrator")
    assert forbidden(response) == (not any(route.cells[role] for role in held))


@pytest.mark.parametrize("route", WITH_IDS, ids=str)
def test_what_is_anothers_is_answered_like_what_does_not_exist(
    route: Route, callers: dict[str, Caller], own: dict[str, str], things: dict[str, str]
) -> None:
    """For every id a route takes, one by one: globex's own against one that was never given."""
    held = json.dumps(route.body)
    kinds = [name for name in things if things[name] != MISSING[name]]
    names = [name for name in kinds if f"{{{name}}}" in route.path or f"{{{name}}}" in held]
    for role, caller in callers.items():
        for name in names:
            foreign = ask(caller.http, route, {**own, name: things[name]})
            missing = ask(caller.http, route, {**own, name: MISSING[name]})
            assert seen(foreign, things[name]) == seen(missing, MISSING[name]), (role, name)
            assert foreign.status_code >= 400, (role, name, foreign.text)


def seen(response: httpx.Response, identifier: str) -> tuple[int, str]:
    """What a caller can tell of an answer, but for what it asked itself."""
    text = re.sub(r'"request_id":"[0-9a-f]+"', "", response.text)
    return response.status_code, text.replace(identifier, "ID")


@pytest.fixture(scope="module")
def own(acme: Tenant) -> dict[str, str]:
    return one_of_each_kind(acme)


@pytest.fixture(scope="module")
def things(globex: Tenant) -> dict[str, str]:
    return one_of_each_kind(globex)


def one_of_each_kind(tenant: Tenant) -> dict[str, str]:
    """The ids of what a tenant has."""
    ask, project = tenant.administrator.ask, tenant.project_id
    agency = ask(
        "POST",
        "/v3.0/OS-AGENCY/agencies",
        {"agency": {"name": "volumes", "domain_id": tenant.domain_id}},
    )["agency"]["id"]
    ask("PUT", f"/v3.0/OS-AGENCY/projects/{project}/agencies/{agency}/roles/kms_adm")
    key = ask("POST", f"/v1.0/{project}/kms/create-key", {"key_alias": "one"})
    started = ask("POST", f"/v2/{project}/cloudvolumes", {"volume": {"name": "one", "size": 1}})
    volumes = ask("GET", f"/v2/{project}/cloudvolumes/detail")["volumes"]
    wanted = {"attachment": {"volume_uuid": volumes[0]["id"], "connector": {}}}
    attachment = ask("POST", f"/v3/{project}/attachments", wanted)
    group = {"snapshot_group": {"volume_ids": [snapshotted(tenant)]}}
    group_id = ask("POST", f"/v5/{project}/snapshot-groups", group)["snapshot_group_id"]
    snapshots = ask("GET", f"/v5/{project}/snapshots/detail")["snapshots"]
    member = tenant.user("member", "user")
    return {
        **MISSING,
        "project_id": project,
        "domain_id": tenant.domain_id,
        "user_id": member.user_id,
        "group_id": ask("GET", "/v3/groups?name=of%20member")["groups"][0]["id"],
        "agency_id": agency,
        "access": member.pair["access"],
        "token_id": member.ask("POST", TOKENS, {"token": {}})["token"]["id"],
        "key_id": key["key_info"]["key_id"],
        "volume_id": volumes[0]["id"],
        "attachment_id": attachment["attachment"]["id"],
        "job_id": started["job_id"],
        "snapshot_id": snapshots[0]["id"],
        "snapshot_group_id": group_id,
        "image_id": ask("POST", "/v2/images", {"name": "one"})["id"],
    }


def snapshotted(tenant: Tenant) -> str:
    """The id of a volume that nobody has attached."""
    ask, path = tenant.administrator.ask, f"/v2/{tenant.project_id}/cloudvolumes"
    ask("POST", path, {"volume": {"name": "snapshotted", "size": 1}})
    [volume] = ask("GET", f"{path}/detail?name=snapshotted")["volumes"]
    return str(volume["id"])


SHOWN = {
    "snapshot_id": "/v2/{project_id}/cloudsnapshots/{snapshot_id}",
    "snapshot_group_id": "/v5/{project_id}/snapshot-groups/{snapshot_group_id}",
    "project_id": "/v3/projects/{project_id}",
    "user_id": "/v3/users/{user_id}",
    "group_id": "/v3/groups/{group_id}",
    "agency_id": "/v3.0/OS-AGENCY/agencies/{agency_id}",
    "access": CREDENTIAL,
    "volume_id": "/v2/{project_id}/cloudvolumes/{volume_id}",
    "attachment_id": "/v3/{project_id}/attachments/{attachment_id}",
    "job_id": "/v1/{project_id}/jobs/{job_id}",
    "image_id": "/v2/images/{image_id}",
}


@pytest.mark.parametrize("name", SHOWN)
def test_its_owner_sees_it_and_nobody_has_changed_it(
    name: str, things: dict[str, str], globex: Tenant
) -> None:
    globex.administrator.ask("GET", SHOWN[name].format(**things))


def test_its_owner_sees_the_key_and_nobody_has_changed_it(
    things: dict[str, str], globex: Tenant
) -> None:
    path, body = f"/v1.0/{globex.project_id}/kms/describe-key", {"key_id": things["key_id"]}
    assert globex.administrator.ask("POST", path, body)["key_info"]["key_state"] == "2"
