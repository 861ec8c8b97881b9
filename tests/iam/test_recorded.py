"""Who may do what is not changed, and not refused to be changed, without a record of it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pytest

from evsd.audit.chain import newest_first
from tests.iam.test_permissions import MISSING, OPENAPI, ROUTES, Route, ask
from tests.support.daemon import Evsd, Object, running_evsd, until
from tests.support.identity import Caller, Tenant, code

USERS, GROUPS, PROJECTS = "/v3/users", "/v3/groups", "/v3/projects"
AGENCIES, CREDENTIALS = "/v3.0/OS-AGENCY/agencies", "/v3.0/OS-CREDENTIAL/credentials"
TOKENS = "/v3.0/OS-CREDENTIAL/securitytokens"


def record_of(evsd: Evsd, response: httpx.Response) -> Object:
    """The one record of a request, but for that of opening the key it is signed with."""
    request_id = response.headers["x-request-id"]
    log = islice(newest_first(evsd.state / "audit.log"), 20)
    found = [record for record in log if record["request_id"] == request_id]
    found = [record for record in found if record["action"] != "open-access-key"]
    assert len(found) == 1, (response.request.url, response.text, found)
    return found[0]


class Recorder:
    """Requests of one caller, each with its record."""

    def __init__(self, evsd: Evsd, caller: Caller) -> None:
        self.evsd, self.caller = evsd, caller

    def __call__(self, action: str, method: str, path: str, body: Object | None = None) -> Any:
        """A request that is done; returns its answer and what the record says it was about."""
        response = self.caller.http.request(method, path, json=body)
        assert response.status_code < 300, response.text
        record = record_of(self.evsd, response)
        expected = {
            "action": action,
            "principal": "admin",
            "user_id": self.caller.user_id,
            "source": "127.0.0.1",
            "domain_id": self.caller.domain_id,
            "result": "ok",
        }
        assert {name: record[name] for name in expected} == expected
        return (response.json() if response.content else {}), record["context"]


@pytest.fixture
def done(evsd_of_tenants: Evsd, acme: Tenant) -> Recorder:
    return Recorder(evsd_of_tenants, acme.administrator)


def test_every_change_of_a_user_is_recorded(done: Recorder) -> None:
    wanted = {"user": {"name": "hired", "description": "new"}}
    made, about = done("create-user", "POST", USERS, wanted)
    user_id = made["user"]["id"]
    assert (about["user_id"], about["name"]) == (user_id, "hired")
    _, about = done("update-user", "PATCH", f"{USERS}/{user_id}", {"user": {"enabled": False}})
    assert about == {"user_id": user_id, "user": "hired", "enabled": "False"}
    _, about = done("delete-user", "DELETE", f"{USERS}/{user_id}")
    assert about == {"user_id": user_id, "user": "hired"}


def test_every_change_of_a_group_and_its_roles_is_recorded(done: Recorder, acme: Tenant) -> None:
    user_id = acme.user("joiner").user_id
    made, about = done("create-group", "POST", GROUPS, {"group": {"name": "team"}})
    group_id = made["group"]["id"]
    assert (about["group_id"], about["name"]) == (group_id, "team")
    whom = {"group_id": group_id, "group": "team"}
    member = f"{GROUPS}/{group_id}/users/{user_id}"
    for action, method in (("add-member", "PUT"), ("remove-member", "DELETE")):
        _, about = done(action, method, member)
        assert about == {**whom, "user_id": user_id, "user": "joiner"}
    for target, kind in ((acme.domain_id, "domains"), (acme.project_id, "projects")):
        path = f"/v3/{kind}/{target}/groups/{group_id}/roles/kms_adm"
        for action, method in (("grant-group-role", "PUT"), ("revoke-group-role", "DELETE")):
            _, about = done(action, method, path)
            assert about == {**whom, "target_id": target, "role_id": "kms_adm"}
    _, about = done("delete-group", "DELETE", f"{GROUPS}/{group_id}")
    assert about == whom


def test_every_change_of_an_agency_and_its_roles_is_recorded(done: Recorder, acme: Tenant) -> None:
    wanted = {"name": "partners", "domain_id": acme.domain_id, "trust_domain_name": "op_svc_evs"}
    made, about = done("create-agency", "POST", AGENCIES, {"agency": wanted})
    agency_id = made["agency"]["id"]
    assert (about["agency_id"], about["name"]) == (agency_id, "partners")
    whom = {"agency_id": agency_id, "agency": "partners", "trust_domain_name": "op_svc_evs"}
    _, about = done(
        "update-agency", "PUT", f"{AGENCIES}/{agency_id}", {"agency": {"duration": "ONEDAY"}}
    )
    assert about == {**whom, "days": "1"}
    project_id = acme.project("recorded")  # where nobody else trusts the volume service
    path = f"/v3.0/OS-AGENCY/projects/{project_id}/agencies/{agency_id}/roles/kms_adm"
    for action, method in (("grant-agency-role", "PUT"), ("revoke-agency-role", "DELETE")):
        _, about = done(action, method, path)
        assert about == {**whom, "project_id": project_id, "role_id": "kms_adm"}
    _, about = done("delete-agency", "DELETE", f"{AGENCIES}/{agency_id}")
    assert about == whom


def test_every_change_of_an_access_key_is_recorded(done: Recorder, acme: Tenant) -> None:
    user_id = acme.user("has recorded keys").user_id
    wanted = {"credential": {"user_id": user_id}}
    made, about = done("create-access-key", "POST", CREDENTIALS, wanted)
    access = made["credential"]["access"]
    whom = {"access": access, "user_id": user_id}
    assert about == whom
    stopped = {"credential": {"status": "inactive"}}
    _, about = done("update-access-key", "PUT", f"{CREDENTIALS}/{access}", stopped)
    assert about == {**whom, "status": "inactive"}
    _, about = done("delete-access-key", "DELETE", f"{CREDENTIALS}/{access}")
    assert about == whom
    made, about = done(
        "create-temporary-key", "POST", TOKENS, {"auth": {"identity": {"methods": ["token"]}}}
    )
    assert about["access"] == made["credential"]["access"]


def test_every_change_of_a_project_is_recorded(done: Recorder, acme: Tenant) -> None:
    wanted = {"name": "annex", "parent_id": acme.domain_id}
    made, about = done("create-project", "POST", PROJECTS, {"project": wanted})
    project_id = made["project"]["id"]
    assert (about["created_project_id"], about["name"]) == (project_id, "annex")
    _, about = done(
        "update-project", "PATCH", f"{PROJECTS}/{project_id}", {"project": {"name": "wing"}}
    )
    assert about == {"project_id": project_id, "project": "annex", "name": "wing"}


def test_a_new_tenant_is_recorded(evsd_of_tenants: Evsd) -> None:
    made = evsd_of_tenants.object("domain", "create", "hooli")
    records = evsd_of_tenants.object("audit", "list", "--action", "create-domain")["records"]
    assert records[0]["context"]["created_domain_id"] == made["domain"]["id"]
    assert records[0]["context"]["administrator_id"] == made["administrator"]["id"]


def test_a_domain_sees_in_the_log_who_has_assumed_its_agency(acme: Tenant, globex: Tenant) -> None:
    wanted = {
        "name": "assumed",
        "domain_id": globex.domain_id,
        "trust_domain_name": acme.name,
    }
    agency_id = globex.administrator.ask("POST", AGENCIES, {"agency": wanted})["agency"]["id"]
    assumed = {"agency_name": "assumed", "domain_name": globex.name}
    identity = {"methods": ["assume_role"], "assume_role": assumed}
    acme.administrator.ask("POST", TOKENS, {"auth": {"identity": identity}})
    path = "/v1/audit/records?action=create-temporary-key"
    record = globex.administrator.ask("GET", path)["records"][0]
    assert record["context"]["agency_id"] == agency_id
    assert record["domain_id"] == acme.domain_id


# --- refused -------------------------------------------------------------------------------------


def permission(route: Route) -> tuple[str, bool]:
    """What a route needs, and whether that is to use keys or to change who may do what."""
    wanted = str(OPENAPI["paths"][route.path][route.method.lower()]["x-permission"])
    reads = route.method in ("GET", "HEAD")
    keys = wanted.startswith("kms:") and not wanted.startswith("kms:versions:")  # for anybody
    return wanted, keys or (wanted.startswith("iam:") and not reads)


@pytest.mark.parametrize("route", [r for r in ROUTES if not r.cells["no role"]], ids=str)
def test_whatever_a_role_is_missing_for_is_recorded_as_refused(
    route: Route, evsd_of_tenants: Evsd, callers: dict[str, Caller]
) -> None:
    caller = callers["no role"]
    ids = {**MISSING, "project_id": caller.project_id, "domain_id": caller.domain_id}
    response = ask(caller.http, route, ids)
    assert response.status_code == 403
    record = record_of(evsd_of_tenants, response)
    named = {"principal": "has none", "user_id": caller.user_id, "source": "127.0.0.1"}
    assert {name: record[name] for name in named} == named
    assert record["permission"] == permission(route)[0]
    assert record["result"] == (code(response) if response.content else "IAM.0002")


@pytest.mark.parametrize("route", [r for r in ROUTES if permission(r)[1]], ids=str)
def test_whatever_is_refused_for_what_it_names_is_recorded(
    route: Route, evsd_of_tenants: Evsd, acme: Tenant
) -> None:
    caller = acme.administrator
    ids = {**MISSING, "project_id": caller.project_id, "domain_id": caller.domain_id}
    response = ask(caller.http, route, ids)
    if response.status_code >= 400:
        assert record_of(evsd_of_tenants, response)["result"] == code(response)


@pytest.mark.parametrize(
    ("method", "path", "body", "action"),
    [
        ("POST", USERS, {"user": {"name": "admin"}}, "create-user"),
        ("POST", USERS, {"user": {"name": "x", "password": "y"}}, "create-user"),
        ("POST", USERS, {"user": {"name": 5}}, "create-user"),
        ("POST", GROUPS, {"group": {"name": "x", "domain_id": "another"}}, "create-group"),
        ("POST", PROJECTS, {"project": {"name": "default", "parent_id": ""}}, "create-project"),
        ("DELETE", f"{GROUPS}/{'0' * 32}", None, "delete-group"),
        ("POST", CREDENTIALS, {"credential": {"user_id": "0" * 32}}, "create-access-key"),
    ],
)
def test_a_change_refused_for_its_content_is_recorded_with_its_code(
    evsd_of_tenants: Evsd, acme: Tenant, method: str, path: str, body: Object | None, action: str
) -> None:
    response = acme.administrator.http.request(method, path, json=body)
    record = record_of(evsd_of_tenants, response)
    assert (record["action"], record["result"]) == (action, code(response))


def test_a_password_in_a_refused_request_is_not_recorded(
    evsd_of_tenants: Evsd, acme: Tenant
) -> None:
    body = {"user": {"name": "x", "password": "correct horse"}}
    record = record_of(evsd_of_tenants, acme.administrator.http.post(USERS, json=body))
    assert record["context"] == {"name": "x"}


def test_an_access_key_for_another_user_is_recorded_as_refused(
    evsd_of_tenants: Evsd, callers: dict[str, Caller], acme: Tenant
) -> None:
    whom = acme.administrator.user_id
    response = callers["ordinary user"].http.post(
        CREDENTIALS, json={"credential": {"user_id": whom}}
    )
    record = record_of(evsd_of_tenants, response)
    assert (record["result"], record["context"]["user_id"]) == ("IAM.0002", whom)


@pytest.mark.parametrize("header", ["X-Domain-Id", "X-Project-Id"])
@pytest.mark.parametrize("path", ["/v2/{}/cloudvolumes/detail", "/v1.0/{}/kms/user-quotas"])
def test_a_foreign_domain_or_project_in_the_headers_is_recorded(
    evsd_of_tenants: Evsd, acme: Tenant, globex: Tenant, header: str, path: str
) -> None:
    foreign = globex.domain_id if header == "X-Domain-Id" else globex.project_id
    response = acme.administrator.http.get(
        path.format(acme.project_id), headers={header.lower(): foreign}
    )
    record = record_of(evsd_of_tenants, response)
    assert (record["principal"], record["result"]) == ("admin", code(response))
    assert record["context"][header.lower()] == foreign


# --- no record, no change ------------------------------------------------------------------------


@contextmanager
def unwritable(log: Path) -> Iterator[None]:
    """There is no file to write to until the end of the block."""
    aside = log.with_name("aside")
    log.rename(aside)
    log.mkdir()
    try:
        yield
    finally:
        log.rmdir()
        aside.rename(log)


def test_nothing_is_changed_while_the_log_can_not_be_written(
    evsd_of_tenants: Evsd, acme: Tenant
) -> None:
    administrator, wanted = acme.administrator, {"user": {"name": "unrecorded"}}
    with unwritable(evsd_of_tenants.state / "audit.log"):
        assert administrator.refused("POST", USERS, wanted) == (503, "KMS.0104")
    assert administrator.ask("GET", f"{USERS}?name=unrecorded")["users"] == []
    administrator.ask("POST", USERS, wanted)


def test_a_change_survives_no_crash_without_its_record() -> None:
    with running_evsd() as evsd:
        stop = threading.Event()

        def hire() -> None:
            number = 0
            with evsd.http() as http:
                while not stop.is_set():
                    number += 1
                    http.post(USERS, json={"user": {"name": f"user-{number}"}})

        thread = threading.Thread(target=hire)
        thread.start()
        try:
            for _ in range(2):
                before = len(evsd.object("user", "list")["users"])
                until(lambda: len(evsd.object("user", "list")["users"]) > before)  # noqa: B023
                with suppress(StopIteration):  # it is being started again
                    os.kill(evsd.keys_pid, signal.SIGKILL)
        finally:
            stop.set()
            thread.join()
        evsd.stop()
        with closing(sqlite3.connect(evsd.state / "evsd.db")) as database:
            rows = database.execute("SELECT id FROM users WHERE NOT from_settings").fetchall()
        recorded = {
            record["context"].get("user_id")
            for record in newest_first(evsd.state / "audit.log")
            if (record["action"], record["result"]) == ("create-user", "ok")
        }
        assert len(rows) >= 2
        assert {row[0] for row in rows} <= recorded


def test_unix_users_that_come_and_go_with_the_settings_are_recorded(tmp_path: Path) -> None:
    config = Path("/tmp") / f"{tmp_path.name}-{os.getpid()}.toml"
    config.write_text('[unix_users]\nnobody = "read-only"\n')
    config.chmod(0o644)
    try:
        with running_evsd("--config", str(config)) as evsd:
            evsd.stop()
            config.write_text('[unix_users]\ndaemon = "read-only"\n')
            evsd.start()
            record = evsd.object("audit", "list", "--action", "follow-settings")["records"][0]
            assert (record["source"], record["result"]) == ("settings", "ok")
            assert (record["context"]["enabled"], record["context"]["disabled"]) == (
                "daemon",
                "nobody",
            )
    finally:
        config.unlink()


def test_the_list_shows_who_was_concerned(evsd_of_tenants: Evsd, acme: Tenant) -> None:
    made = acme.administrator.ask("POST", USERS, {"user": {"name": "seen"}})
    shown = evsd_of_tenants.ok("audit", "list", "--action", "create-user", "--limit", "1")
    assert f"user_id={made['user']['id']}" in shown
    assert "name=seen" in shown
    assert json.loads(
        evsd_of_tenants.ok("--output", "json", "audit", "list", "--action", "create-user")
    )["records"]
