"""Roles come by groups, for a domain or a project, and count at once."""

from __future__ import annotations

import threading
import uuid

import pytest

from tests.support.identity import Caller, Tenant


def volumes(project_id: str) -> str:
    return f"/v2/{project_id}/cloudvolumes/detail"


def grant(tenant: Tenant, group_id: str, target: str, role: str) -> None:
    tenant.administrator.ask("PUT", f"/v3/{target}/groups/{group_id}/roles/{role}")


@pytest.fixture
def group(acme: Tenant) -> str:
    wanted = {"group": {"name": f"group {uuid.uuid4().hex}"}}
    return str(acme.administrator.ask("POST", "/v3/groups", wanted)["group"]["id"])


@pytest.fixture
def newcomer(acme: Tenant) -> Caller:
    return acme.user(f"newcomer {uuid.uuid4().hex}")


def test_a_user_without_a_role_may_do_nothing_in_the_domains_projects(
    acme: Tenant, newcomer: Caller
) -> None:
    assert newcomer.refused("GET", volumes(acme.project_id)) == (403, "EVS.5403")
    keys = f"/v1.0/{acme.project_id}/kms/list-keys"
    assert newcomer.refused("POST", keys, {}) == (403, "KMS.0330")
    assert newcomer.ask("GET", "/v3/projects")["projects"] == []


def test_a_role_in_the_domain_counts_in_all_its_projects(
    acme: Tenant, group: str, newcomer: Caller
) -> None:
    other = acme.project("all-of-them")
    acme.administrator.ask("PUT", f"/v3/groups/{group}/users/{newcomer.user_id}")
    grant(acme, group, f"domains/{acme.domain_id}", "readonly")
    for project_id in (acme.project_id, other):
        newcomer.ask("GET", volumes(project_id))


def test_a_role_in_a_project_counts_in_that_one_only(
    acme: Tenant, group: str, newcomer: Caller
) -> None:
    other = acme.project("only-this")
    acme.administrator.ask("PUT", f"/v3/groups/{group}/users/{newcomer.user_id}")
    grant(acme, group, f"projects/{other}", "te_admin")
    newcomer.ask("GET", volumes(other))
    assert newcomer.refused("GET", volumes(acme.project_id)) == (403, "EVS.5403")
    projects = newcomer.ask("GET", "/v3/projects")["projects"]
    assert [project["id"] for project in projects] == [other]


def test_who_administers_one_project_administers_no_identity(
    acme: Tenant, group: str, newcomer: Caller
) -> None:
    acme.administrator.ask("PUT", f"/v3/groups/{group}/users/{newcomer.user_id}")
    grant(acme, group, f"projects/{acme.project_id}", "secu_admin")
    assert newcomer.refused("GET", "/v3/users") == (403, "IAM.0002")
    domain_roles = f"/v3/domains/{acme.domain_id}/groups/{group}/roles/te_admin"
    assert newcomer.refused("PUT", domain_roles) == (403, "IAM.0002")


def test_roles_of_several_groups_add_up(acme: Tenant, newcomer: Caller) -> None:
    for number, role in enumerate(("readonly", "kms_adm")):
        wanted = {"group": {"name": f"adding up {number}"}}
        made = acme.administrator.ask("POST", "/v3/groups", wanted)["group"]["id"]
        acme.administrator.ask("PUT", f"/v3/groups/{made}/users/{newcomer.user_id}")
        grant(acme, made, f"domains/{acme.domain_id}", role)
    newcomer.ask("GET", "/v3/users")
    newcomer.ask("POST", f"/v1.0/{acme.project_id}/kms/create-key", {"key_alias": "added-up"})


@pytest.mark.parametrize("how", ["revoked", "removed from the group", "group deleted"])
def test_a_role_that_is_taken_away_is_gone_at_the_next_request(
    acme: Tenant, group: str, newcomer: Caller, how: str
) -> None:
    ask, path = acme.administrator.ask, volumes(acme.project_id)
    ask("PUT", f"/v3/groups/{group}/users/{newcomer.user_id}")
    grant(acme, group, f"domains/{acme.domain_id}", "readonly")
    newcomer.ask("GET", path)
    if how == "revoked":
        ask("DELETE", f"/v3/domains/{acme.domain_id}/groups/{group}/roles/readonly")
    elif how == "group deleted":
        ask("DELETE", f"/v3/groups/{group}")
    else:
        ask("DELETE", f"/v3/groups/{group}/users/{newcomer.user_id}")
    assert newcomer.refused("GET", path) == (403, "EVS.5403")


def test_the_keys_of_a_disabled_user_stop_at_once_and_go_on_when_it_is_enabled(
    acme: Tenant, newcomer: Caller
) -> None:
    path = f"/v3.0/OS-USER/users/{newcomer.user_id}"
    newcomer.ask("GET", "/v3/projects")
    acme.administrator.ask("PUT", path, {"user": {"enabled": False}})
    assert newcomer.refused("GET", "/v3/projects") == (401, "APIGW.0301")
    acme.administrator.ask("PUT", path, {"user": {"enabled": True}})
    newcomer.ask("GET", "/v3/projects")


def test_a_disabled_user_is_refused_however_many_requests_are_under_way(
    acme: Tenant, newcomer: Caller
) -> None:
    path, stop = f"/v3.0/OS-USER/users/{newcomer.user_id}", threading.Event()

    def hammer() -> None:
        while not stop.is_set():
            newcomer.http.get("/v3/projects")

    threads = [threading.Thread(target=hammer) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for enabled in (False, True) * 8:
            acme.administrator.ask("PUT", path, {"user": {"enabled": enabled}})
            answer = newcomer.http.get("/v3/projects")
            assert answer.status_code == (200 if enabled else 401)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_the_keys_of_a_deleted_user_stop_at_once(acme: Tenant, newcomer: Caller) -> None:
    newcomer.ask("GET", "/v3/projects")
    acme.administrator.ask("DELETE", f"/v3/users/{newcomer.user_id}")
    assert newcomer.refused("GET", "/v3/projects") == (401, "APIGW.0301")


def test_a_user_made_anew_under_the_name_is_another(acme: Tenant, newcomer: Caller) -> None:
    shown = acme.administrator.ask("GET", f"/v3/users/{newcomer.user_id}")["user"]
    acme.administrator.ask("DELETE", f"/v3/users/{newcomer.user_id}")
    again = acme.user(shown["name"])
    assert again.user_id != newcomer.user_id
    assert newcomer.refused("GET", "/v3/projects") == (401, "APIGW.0301")


@pytest.mark.parametrize("name", ["alpha", "of both"])
def test_names_are_of_a_domain_not_of_the_world(acme: Tenant, globex: Tenant, name: str) -> None:
    assert acme.user(name).user_id != globex.user(name).user_id


def test_a_domain_can_not_take_the_name_of_another_or_of_the_volume_service(acme: Tenant) -> None:
    for name in ("acme", "default", "op_svc_evs"):
        refused = acme.evsd.ctl("domain", "create", name)
        assert (refused.status, "IAM.0005" in refused.err) == (1, True), name


def test_no_administrator_of_a_domain_makes_or_lists_domains(acme: Tenant) -> None:
    wanted = {"domain": {"name": "mine"}}
    assert acme.administrator.refused("POST", "/v3/domains", wanted) == (403, "IAM.0002")
    assert acme.administrator.refused("GET", "/v3/domains") == (403, "IAM.0002")


def test_roots_own_access_key_does_not_make_it_the_operator(acme: Tenant) -> None:
    pair = acme.evsd.object("access-key", "create")["credential"]
    with acme.evsd.http() as http:
        domain_id = http.get("/v3/auth/domains").json()["domains"][0]["id"]
    root = Caller(acme.evsd.url(), (domain_id, acme.evsd.project_id()), pair["user_id"], pair)
    root.ask("GET", "/v3/users")
    assert root.refused("GET", "/v3/domains") == (403, "IAM.0002")


@pytest.mark.parametrize("header", ["X-Project-Id", "X-Domain-Id"])
def test_a_header_that_names_another_tenant_than_the_signers_is_refused(
    acme: Tenant, globex: Tenant, header: str
) -> None:
    foreign = {"X-Project-Id": globex.project_id, "X-Domain-Id": globex.domain_id}[header]
    answer = acme.administrator.http.get(volumes(acme.project_id), headers={header: foreign})
    assert answer.status_code in (403, 404)
    missing = acme.administrator.http.get(volumes(acme.project_id), headers={header: "0" * 32})
    assert answer.text.replace(foreign, "ID") == missing.text.replace("0" * 32, "ID")
