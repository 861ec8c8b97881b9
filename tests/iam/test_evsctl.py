"""evsctl for identity: what people type, and what they read."""

from __future__ import annotations

import json

import pytest

from tests.support.daemon import Result
from tests.support.identity import Caller, Tenant


class Ctl:
    """evsctl as one user, over TCP."""

    def __init__(self, tenant: Tenant, caller: Caller) -> None:
        self._tenant, self._environment = tenant, caller.environment()

    def __call__(self, *words: str) -> Result:
        return self._tenant.evsd.ctl(*words, environment=self._environment)

    def ok(self, *words: str) -> str:
        done = self(*words)
        assert done.status == 0, (words, done)
        return done.out

    def refused(self, *words: str) -> str:
        done = self(*words)
        assert done.status == 1, (words, done)
        return done.err


@pytest.fixture(scope="module")
def ctl(acme: Tenant) -> Ctl:
    return Ctl(acme, acme.administrator)


def test_a_user_gets_a_role_by_a_group_and_loses_it(acme: Tenant, ctl: Ctl) -> None:
    ctl.ok("user", "create", "flora", "--description", "likes plants")
    ctl.ok("group", "create", "gardeners")
    ctl.ok("group", "add", "gardeners", "flora")
    ctl.ok("group", "grant", "gardeners", "EVS Administrator")
    ctl.ok("group", "grant", "gardeners", "readonly", "--whole-domain")
    made = json.loads(ctl.ok("access-key", "create", "--user", "flora", "--output", "json"))
    pair = made["credential"]
    ids = (acme.domain_id, acme.project_id)
    flora = Ctl(acme, Caller(acme.evsd.url(), ids, pair["user_id"], pair))
    flora.ok("list")
    shown = ctl.ok("group", "show", "gardeners")
    assert "EVS Administrator" in shown
    assert "read-only" in shown
    assert "flora" in shown
    assert "gardeners" in ctl.ok("user", "show", "flora")
    ctl.ok("group", "revoke", "gardeners", "readonly", "--whole-domain")
    ctl.ok("group", "remove", "gardeners", "flora")
    assert "project default does not exist, or is not yours" in flora.refused("list")
    ctl.ok("group", "delete", "gardeners", "--yes")
    assert "IAM.0004" in ctl.refused("group", "show", "gardeners")
    assert "flora" in ctl.ok("user", "list")
    ctl.ok("user", "delete", "flora", "--yes")
    assert "APIGW.0301" in flora.refused("project", "list")


def test_a_user_is_disabled_and_enabled(ctl: Ctl) -> None:
    ctl.ok("user", "create", "greta")
    assert "disabled" in ctl.ok("user", "disable", "greta")
    assert "disabled" in ctl.ok("user", "show", "greta")
    assert "enabled" in ctl.ok("user", "enable", "greta")


def test_an_access_key_is_stopped_and_let_go_on(acme: Tenant, ctl: Ctl) -> None:
    user = acme.user("hugo", "user")
    hugo, access = Ctl(acme, user), user.pair["access"]
    hugo.ok("project", "list")
    assert "inactive" in ctl.ok("access-key", "disable", access)
    assert "inactive" in hugo.refused("project", "list")
    assert "inactive" in ctl.ok("access-key", "list", "--user", "hugo")
    ctl.ok("access-key", "enable", access)
    hugo.ok("project", "list")
    assert access in hugo.ok("access-key", "show", access)
    hugo.ok("access-key", "delete", access, "--yes")
    assert "APIGW.0301" in hugo.refused("project", "list")


def test_a_temporary_pair_works_with_evsctl(acme: Tenant, ctl: Ctl) -> None:
    made = json.loads(ctl.ok("access-key", "temporary", "--minutes", "20", "--output", "json"))
    ids = (acme.domain_id, acme.project_id)
    temporary = Ctl(acme, Caller(acme.evsd.url(), ids, "", made["credential"]))
    temporary.ok("user", "list")
    assert "security token" in ctl.ok("access-key", "temporary")


def test_projects_are_made_listed_and_worked_in(ctl: Ctl) -> None:
    ctl.ok("project", "create", "lab", "--description", "for trials")
    assert "for trials" in ctl.ok("project", "list")
    assert "no keys" in ctl.ok("--project", "lab", "key", "list")
    ctl.ok("project", "update", "lab", "--name", "laboratory")
    assert "does not exist" in ctl.refused("--project", "lab", "key", "list")


def test_another_domain_is_trusted_and_acts_here(acme: Tenant, globex: Tenant, ctl: Ctl) -> None:
    theirs = Ctl(globex, globex.administrator)
    ctl.ok("agency", "create", "visitors", "--trust", "globex", "--days", "2")
    ctl.ok("agency", "grant", "visitors", "read-only")
    listed = ctl.ok("agency", "list")
    assert "globex" in listed
    assert "read-only" in listed
    assumed = theirs.ok("agency", "assume", "visitors", "--domain", "acme", "--output", "json")
    ids = (acme.domain_id, acme.project_id)
    agent = Ctl(acme, Caller(acme.evsd.url(), ids, "", json.loads(assumed)["credential"]))
    agent.ok("key", "list")
    assert "KMS.0330" in agent.refused("key", "create", "mine")
    ctl.ok("agency", "revoke", "visitors", "read-only")
    assert "is not yours" in agent.refused("key", "list")
    ctl.ok("agency", "delete", "visitors", "--yes")
    assert "does not exist" in ctl.refused("agency", "grant", "visitors", "read-only")


def test_roles_are_listed_for_people(ctl: Ctl) -> None:
    assert "Security Administrator" in ctl.ok("role", "list")


def test_the_operator_makes_and_lists_domains_on_the_socket(acme: Tenant, ctl: Ctl) -> None:
    shown = acme.evsd.ok("domain", "create", "initech", "--administrator", "bill")
    assert "secret key" in shown
    assert "bill" in shown
    listed = acme.evsd.ok("domain", "list")
    assert "initech" in listed
    assert "acme" in listed
    assert "IAM.0002" in ctl.refused("domain", "create", "own")


@pytest.mark.parametrize(
    "words", [("user", "delete", "x"), ("group", "delete", "x"), ("access-key", "delete", "x")]
)
def test_what_destroys_asks_first(acme: Tenant, ctl: Ctl, words: tuple[str, ...]) -> None:
    acme.administrator.http.post("/v3/users", json={"user": {"name": "x"}})
    acme.administrator.http.post("/v3/groups", json={"group": {"name": "x"}})
    done = ctl(*words)
    assert (done.status, "--yes" in done.err) == (2, True)
