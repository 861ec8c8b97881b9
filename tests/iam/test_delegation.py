"""Delegation to the volume service: per domain, region and project, one test a sentence."""

from __future__ import annotations

import sqlite3
import uuid

import pytest

from tests.support.daemon import Evsd, Object
from tests.support.identity import Caller, Tenant

AGENCIES = "/v3.0/OS-AGENCY/agencies"


@pytest.fixture
def tenant(evsd_of_tenants: Evsd) -> Tenant:
    """A tenant of its own for each test: nobody has delegated anything in it."""
    return Tenant(evsd_of_tenants, f"tenant-{uuid.uuid4().hex}")


@pytest.fixture
def user(tenant: Tenant) -> Caller:
    return tenant.user("user", "user")


def create(name: str) -> Object:
    return {"volume": {"name": name, "size": 1}}


def volumes(project_id: str) -> str:
    return f"/v2/{project_id}/cloudvolumes"


def delegate(tenant: Tenant, project_id: str, **fields: object) -> str:
    """Let the volume service use the keys of a project; returns the agency's id."""
    ask = tenant.administrator.ask
    listed = ask("GET", AGENCIES)["agencies"]
    wanted = {"name": "EVSAccessKMS", "domain_id": tenant.domain_id, **fields}
    agency = (
        listed[0]["id"] if listed else ask("POST", AGENCIES, {"agency": wanted})["agency"]["id"]
    )
    ask("PUT", f"/v3.0/OS-AGENCY/projects/{project_id}/agencies/{agency}/roles/kms_adm")
    return str(agency)


def test_an_ordinary_user_who_is_the_first_is_told_whom_to_ask(
    tenant: Tenant, user: Caller
) -> None:
    answer = user.http.post(volumes(tenant.project_id), json=create("first"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "EVS.2055")
    assert "ask a security administrator" in answer.text
    assert tenant.name in answer.text


def test_a_security_administrator_may_create_it_and_then_every_user_can_use_encryption(
    tenant: Tenant, user: Caller
) -> None:
    delegate(tenant, tenant.project_id)
    another = tenant.user("another", "user")
    for caller, name in ((user, "one"), (another, "two")):
        caller.ask("POST", volumes(tenant.project_id), create(name))


@pytest.mark.parametrize("role", ["user", "te_admin", "kms_adm", "evs_adm", "readonly"])
def test_nobody_but_a_security_administrator_may_create_it(tenant: Tenant, role: str) -> None:
    caller = tenant.user("other", role)
    wanted = {"agency": {"name": "own", "domain_id": tenant.domain_id}}
    assert caller.refused("POST", AGENCIES, wanted) == (403, "IAM.0002")


def test_it_is_for_one_project(tenant: Tenant, user: Caller) -> None:
    delegate(tenant, tenant.project_id)
    other = tenant.project("other")
    assert user.refused("POST", volumes(other), create("one")) == (400, "EVS.2055")


def test_it_is_for_one_domain(tenant: Tenant, user: Caller, evsd_of_tenants: Evsd) -> None:
    other = Tenant(evsd_of_tenants, f"tenant-{uuid.uuid4().hex}")
    delegate(other, other.project_id)
    assert user.refused("POST", volumes(tenant.project_id), create("one")) == (400, "EVS.2055")


def test_each_project_can_be_added_to_the_same_agency(tenant: Tenant, user: Caller) -> None:
    other = tenant.project("other")
    for project_id in (tenant.project_id, other):
        delegate(tenant, project_id)
        user.ask("POST", volumes(project_id), create("one"))


def test_revoking_it_stops_new_data_keys_and_new_attaches(tenant: Tenant, user: Caller) -> None:
    agency, project = delegate(tenant, tenant.project_id), tenant.project_id
    user.ask("POST", volumes(project), create("one"))
    volume = user.ask("GET", f"{volumes(project)}/detail")["volumes"][0]["id"]
    role = f"/v3.0/OS-AGENCY/projects/{project}/agencies/{agency}/roles/kms_adm"
    tenant.administrator.ask("DELETE", role)
    assert user.refused("POST", volumes(project), create("two")) == (400, "EVS.2055")
    wanted = {"attachment": {"volume_uuid": volume, "connector": {"host": "h"}}}
    assert user.refused("POST", f"/v3/{project}/attachments", wanted) == (400, "EVS.2055")


@pytest.mark.parametrize("how", ["expired", "deleted", "trust changed"])
def test_the_end_of_the_agency_revokes_it(
    tenant: Tenant, user: Caller, acme: Tenant, how: str
) -> None:
    agency = delegate(tenant, tenant.project_id, duration="ONEDAY")
    user.ask("POST", volumes(tenant.project_id), create("one"))
    if how == "deleted":
        tenant.administrator.ask("DELETE", f"{AGENCIES}/{agency}")
    elif how == "trust changed":
        other = {"agency": {"trust_domain_name": acme.name}}
        tenant.administrator.ask("PUT", f"{AGENCIES}/{agency}", other)
    else:
        with sqlite3.connect(tenant.evsd.state / "evsd.db", timeout=20) as database:
            past = "UPDATE agencies SET expires_at = '2020-01-01 00:00:00' WHERE id = ?"
            database.execute(past, [agency])
    assert user.refused("POST", volumes(tenant.project_id), create("two")) == (400, "EVS.2055")


def test_another_role_than_kms_administrator_delegates_nothing(
    tenant: Tenant, user: Caller
) -> None:
    ask = tenant.administrator.ask
    wanted = {"agency": {"name": "own", "domain_id": tenant.domain_id}}
    agency = ask("POST", AGENCIES, wanted)["agency"]["id"]
    path = f"/v3.0/OS-AGENCY/projects/{tenant.project_id}/agencies/{agency}/roles/te_admin"
    ask("PUT", path)
    assert user.refused("POST", volumes(tenant.project_id), create("one")) == (400, "EVS.2055")


def test_the_volume_service_has_one_agency_in_a_project(tenant: Tenant) -> None:
    delegate(tenant, tenant.project_id)
    wanted = {"agency": {"name": "second", "domain_id": tenant.domain_id}}
    second = tenant.administrator.ask("POST", AGENCIES, wanted)["agency"]["id"]
    role = f"/v3.0/OS-AGENCY/projects/{tenant.project_id}/agencies/{second}/roles/kms_adm"
    assert tenant.administrator.refused("PUT", role) == (409, "IAM.0005")
