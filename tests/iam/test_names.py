"""Names in any script, of groups, users, projects and domains: in bodies, queries, signatures."""

from __future__ import annotations

import unicodedata
from typing import Any

import huaweicloudsdkiam.v3 as iam
import pytest

from tests.support.daemon import Evsd
from tests.support.identity import Tenant

NAMES = ["größe", "管理员", "Администраторы сети", "mäße & co".replace(" & ", "-"), "😀", "ก่ำ", "é"]


@pytest.fixture(scope="module")
def sdk(acme: Tenant) -> Any:
    return acme.administrator.sdk()


@pytest.mark.parametrize("name", NAMES)
def test_a_group_is_made_and_found_by_a_name_in_any_script(sdk: Any, name: str) -> None:
    option = iam.KeystoneCreateGroupOption(name=name, description=name)
    body = iam.KeystoneCreateGroupRequestBody(group=option)
    made = sdk.keystone_create_group(iam.KeystoneCreateGroupRequest(body)).group
    listed = sdk.keystone_list_groups(iam.KeystoneListGroupsRequest(name=name)).groups
    assert [(group.id, group.name) for group in listed] == [(made.id, name)]


@pytest.mark.parametrize("name", ["жанна", "老王"])
def test_a_user_of_any_name_signs_and_is_found(acme: Tenant, name: str) -> None:
    caller = acme.user(name, "user")
    found = acme.administrator.ask("GET", f"/v3/users?name={name}")["users"]
    assert [(user["id"], user["name"]) for user in found] == [(caller.user_id, name)]
    assert caller.ask("GET", "/v3/projects")["projects"]
    assert caller.refused("GET", "/v3/users")[0] == 403


def test_a_project_of_any_name_is_worked_in(acme: Tenant, evsd_of_tenants: Evsd) -> None:
    project = acme.project("проект")
    found = acme.administrator.ask("GET", "/v3/projects?name=проект")["projects"]
    assert [one["id"] for one in found] == [project]
    listed = evsd_of_tenants.ctl(
        "--project", "проект", "list", environment=acme.administrator.environment()
    )
    assert (listed.status, listed.err) == (0, "")


def test_a_domain_of_any_name_is_made(evsd_of_tenants: Evsd) -> None:
    tenant = Tenant(evsd_of_tenants, "Öko-Strom")
    domains = tenant.administrator.ask("GET", "/v3/auth/domains")["domains"]
    assert [domain["name"] for domain in domains] == ["Öko-Strom"]


def test_an_accent_has_one_spelling(acme: Tenant) -> None:
    ask = acme.administrator.ask
    apart = unicodedata.normalize("NFD", "café")
    made = ask("POST", "/v3/groups", {"group": {"name": apart}})["group"]
    assert made["name"] == "café"
    refused = acme.administrator.refused("POST", "/v3/groups", {"group": {"name": "café"}})
    assert refused == (409, "IAM.0005")
    for name in ("café", apart):
        assert ask("GET", f"/v3/groups?name={name}")["groups"][0]["id"] == made["id"]


@pytest.mark.parametrize(
    "name", [" a", "a ", "a\u00a0b", "a\u202eb", "\u200d", "a\u2028b", "a/b", "a,b", "", "ü" * 65]
)
def test_a_name_that_could_be_mistaken_is_refused(acme: Tenant, name: str) -> None:
    refused = acme.administrator.refused("POST", "/v3/groups", {"group": {"name": name}})
    assert refused == (400, "IAM.0011")
