"""Temporary credentials: for oneself, and by an agency that trusts one's domain."""

from __future__ import annotations

import os
import signal
import sqlite3
from typing import Any

import httpx
import huaweicloudsdkiam.v3 as iam
import pytest

from tests.support.daemon import Object, until
from tests.support.identity import Caller, SdkAuth, Tenant

TOKENS = "/v3.0/OS-CREDENTIAL/securitytokens"
AGENCIES = "/v3.0/OS-AGENCY/agencies"


def by_token(caller: Caller, **token: Any) -> Object:
    identity = {"methods": ["token"], "token": token}
    made: Object = caller.ask("POST", TOKENS, {"auth": {"identity": identity}})["credential"]
    return made


def assumption(name: str, domain: str, **fields: Any) -> Object:
    assumed = {"agency_name": name, "domain_name": domain, **fields}
    return {"auth": {"identity": {"methods": ["assume_role"], "assume_role": assumed}}}


def signed_in(caller: Caller, pair: Object, tenant: Tenant | None = None) -> Caller:
    ids = (
        (caller.domain_id, caller.project_id)
        if tenant is None
        else (tenant.domain_id, tenant.project_id)
    )
    return Caller(caller.url, ids, caller.user_id, pair)


@pytest.fixture(scope="module")
def user(acme: Tenant) -> Caller:
    return acme.user("temporary user", "user")


@pytest.fixture(scope="module")
def trusting(acme: Tenant, globex: Tenant) -> str:
    """The id of an agency `auditors` of globex that lets acme read in its project."""
    wanted = {
        "name": "auditors",
        "domain_id": globex.domain_id,
        "trust_domain_name": acme.name,
    }
    made = globex.administrator.ask("POST", AGENCIES, {"agency": wanted})["agency"]["id"]
    path = f"/v3.0/OS-AGENCY/projects/{globex.project_id}/agencies/{made}/roles/readonly"
    globex.administrator.ask("PUT", path)
    return str(made)


def test_temporary_credentials_act_as_their_user(acme: Tenant, user: Caller) -> None:
    temporary = signed_in(user, by_token(user))
    temporary.ask("GET", f"/v2/{acme.project_id}/cloudvolumes/detail")
    assert temporary.refused("GET", "/v3/users") == (403, "IAM.0002")
    assert temporary.ask("GET", f"/v3/users/{user.user_id}")["user"]["id"] == user.user_id


def test_the_sdk_gets_and_uses_temporary_credentials(user: Caller) -> None:
    identity = iam.TokenAuthIdentity(
        methods=["token"], token=iam.IdentityToken(duration_seconds=3600)
    )
    body = iam.CreateTemporaryAccessKeyByTokenRequestBody(iam.TokenAuth(identity))
    request = iam.CreateTemporaryAccessKeyByTokenRequest(body)
    made = user.sdk().create_temporary_access_key_by_token(request).credential
    pair = {"access": made.access, "secret": made.secret, "securitytoken": made.securitytoken}
    listed = (
        signed_in(user, pair)
        .sdk()
        .keystone_list_auth_projects(iam.KeystoneListAuthProjectsRequest())
    )
    assert listed.projects


@pytest.mark.parametrize("token", [None, "", "x" * 128])
def test_without_their_token_they_are_refused(user: Caller, token: str | None) -> None:
    pair = by_token(user)
    auth = SdkAuth(pair["access"], pair["secret"], token)
    answer = httpx.get(f"{user.url}/v3/projects", auth=auth, timeout=60)
    assert (answer.status_code, answer.json()["error_code"]) == (401, "APIGW.0301")


def test_with_the_token_of_others_they_are_refused(user: Caller) -> None:
    pair = {**by_token(user), "securitytoken": by_token(user)["securitytoken"]}
    assert signed_in(user, pair).refused("GET", "/v3/projects") == (401, "APIGW.0301")


def test_a_permanent_key_comes_without_a_token(user: Caller) -> None:
    pair = {**user.pair, "securitytoken": by_token(user)["securitytoken"]}
    assert signed_in(user, pair).refused("GET", "/v3/projects") == (401, "APIGW.0301")


def test_expired_credentials_are_refused(acme: Tenant, user: Caller) -> None:
    pair = by_token(user)
    temporary = signed_in(user, pair)
    temporary.ask("GET", "/v3/projects")
    with sqlite3.connect(acme.evsd.state / "evsd.db", timeout=20) as database:
        database.execute(
            "UPDATE access_keys SET expires_at = '2020-01-01 00:00:00' WHERE access = ?",
            [pair["access"]],
        )
    os.kill(acme.evsd.keys_pid, signal.SIGKILL)  # it knows the key by heart
    until(lambda: temporary.http.get("/v3/projects").status_code == 401)
    assert "expired" in temporary.http.get("/v3/projects").text


@pytest.mark.parametrize("seconds", [899, 86401, 0, -1, "x", None, 1e9])
def test_a_bad_duration_is_refused(user: Caller, seconds: object) -> None:
    identity = {"methods": ["token"], "token": {"duration_seconds": seconds}}
    refused = user.refused("POST", TOKENS, {"auth": {"identity": identity}})
    assert refused == (400, "IAM.0011")


@pytest.mark.parametrize(
    "identity",
    [
        {"methods": []},
        {"methods": ["password"]},
        {"methods": ["token", "assume_role"]},
        {"methods": ["assume_role"]},
        {"methods": ["token"], "token": {"id": "abc"}},
        {"methods": ["token"], "policy": {"Version": "1.1", "Statement": []}},
        {"methods": ["assume_role"], "assume_role": {"agency_name": "auditors"}},
    ],
)
def test_what_can_not_be_honoured_is_refused(user: Caller, identity: Object) -> None:
    refused = user.refused("POST", TOKENS, {"auth": {"identity": identity}})
    assert refused == (400, "IAM.0011")


def test_temporary_credentials_make_no_others(user: Caller) -> None:
    temporary = signed_in(user, by_token(user))
    identity = {"methods": ["token"]}
    for path, body in (
        (TOKENS, {"auth": {"identity": identity}}),
        ("/v3.0/OS-CREDENTIAL/credentials", {"credential": {}}),
    ):
        assert temporary.refused("POST", path, body) == (403, "IAM.0002")


def test_temporary_keys_are_not_among_the_permanent_ones(user: Caller) -> None:
    pair = by_token(user)
    path = "/v3.0/OS-CREDENTIAL/credentials"
    listed = user.ask("GET", path)["credentials"]
    assert pair["access"] not in [one["access"] for one in listed]
    assert user.refused("GET", f"{path}/{pair['access']}") == (404, "IAM.0004")


def test_they_end_with_their_user(acme: Tenant) -> None:
    user = acme.user("soon gone", "user")
    temporary = signed_in(user, by_token(user))
    acme.administrator.ask("DELETE", f"/v3/users/{user.user_id}")
    assert temporary.refused("GET", "/v3/projects") == (401, "APIGW.0301")


# --- by an agency ------------------------------------------------------------------------------


def test_a_trusted_domain_acts_in_the_project_with_the_agencys_role(
    acme: Tenant, globex: Tenant, trusting: str
) -> None:
    assert trusting
    made = acme.administrator.ask("POST", TOKENS, assumption("auditors", "globex"))["credential"]
    agent = signed_in(acme.administrator, made, globex)
    agent.ask("GET", f"/v2/{globex.project_id}/cloudvolumes/detail")
    create = f"/v1.0/{globex.project_id}/kms/create-key"
    assert agent.refused("POST", create, {"key_alias": "no"}) == (403, "KMS.0330")
    assert agent.refused("GET", "/v3/users") == (403, "IAM.0002")
    own = f"/v2/{acme.project_id}/cloudvolumes/detail"
    assert agent.refused("GET", own) == (403, "EVS.0003")


def test_the_sdk_assumes_an_agency(acme: Tenant, globex: Tenant, trusting: str) -> None:
    assert trusting
    assumed = iam.IdentityAssumerole(
        agency_name="auditors", domain_name="globex", duration_seconds=900
    )
    identity = iam.AgencyAuthIdentity(methods=["assume_role"], assume_role=assumed)
    body = iam.CreateTemporaryAccessKeyByAgencyRequestBody(iam.AgencyAuth(identity))
    request = iam.CreateTemporaryAccessKeyByAgencyRequest(body)
    made = acme.administrator.sdk().create_temporary_access_key_by_agency(request).credential
    pair = {"access": made.access, "secret": made.secret, "securitytoken": made.securitytoken}
    agent = signed_in(acme.administrator, pair, globex)
    domains = agent.sdk().keystone_list_auth_domains(iam.KeystoneListAuthDomainsRequest()).domains
    assert [domain.id for domain in domains] == [globex.domain_id]


def test_an_agency_that_trusts_somebody_else_looks_like_a_missing_one(
    acme: Tenant, globex: Tenant, trusting: str
) -> None:
    assert trusting
    wanted = {"name": "own", "domain_id": globex.domain_id, "trust_domain_name": "globex"}
    globex.administrator.ask("POST", AGENCIES, {"agency": wanted})
    answers = [
        acme.administrator.http.post(TOKENS, json=assumption(name, domain))
        for name, domain in (("own", "globex"), ("missing", "globex"), ("own", "nowhere"))
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert answers[0].text.replace("own", "X") == answers[1].text.replace("missing", "X")
    assert answers[0].text == answers[2].text


def test_an_ordinary_user_assumes_nothing(user: Caller, trusting: str) -> None:
    assert trusting
    assert user.refused("POST", TOKENS, assumption("auditors", "globex")) == (403, "IAM.0002")


def test_an_agency_that_was_assumed_assumes_and_makes_nothing(
    acme: Tenant, globex: Tenant, trusting: str
) -> None:
    assert trusting
    made = acme.administrator.ask("POST", TOKENS, assumption("auditors", "globex"))["credential"]
    agent = signed_in(acme.administrator, made, globex)
    assert agent.refused("POST", TOKENS, assumption("auditors", "globex")) == (403, "IAM.0002")
    keys = "/v3.0/OS-CREDENTIAL/credentials"
    assert agent.refused("POST", keys, {"credential": {}}) == (403, "IAM.0002")


@pytest.mark.parametrize("how", ["role revoked", "expired", "trust changed", "agency deleted"])
def test_the_end_of_the_trust_ends_what_was_assumed(acme: Tenant, globex: Tenant, how: str) -> None:
    name, ask = how.replace(" ", "-"), globex.administrator.ask
    wanted = {"name": name, "domain_id": globex.domain_id, "trust_domain_name": "acme"}
    agency = ask("POST", AGENCIES, {"agency": wanted})["agency"]["id"]
    role = f"/v3.0/OS-AGENCY/projects/{globex.project_id}/agencies/{agency}/roles/readonly"
    ask("PUT", role)
    made = acme.administrator.ask("POST", TOKENS, assumption(name, "globex"))["credential"]
    agent = signed_in(acme.administrator, made, globex)
    path = f"/v2/{globex.project_id}/cloudvolumes/detail"
    agent.ask("GET", path)
    expected = (401, "APIGW.0301")
    if how == "role revoked":
        ask("DELETE", role)
        expected = (403, "EVS.5403")
    elif how == "expired":
        with sqlite3.connect(globex.evsd.state / "evsd.db", timeout=20) as database:
            database.execute(
                "UPDATE agencies SET expires_at = '2020-01-01 00:00:00' WHERE id = ?", [agency]
            )
    elif how == "trust changed":
        ask("PUT", f"{AGENCIES}/{agency}", {"agency": {"trust_domain_name": "globex"}})
    else:
        ask("DELETE", f"{AGENCIES}/{agency}")
    assert agent.refused("GET", path) == expected
