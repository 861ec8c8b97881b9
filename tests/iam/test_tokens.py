"""Tokens: whom they let in, for how long, and what is kept of them."""

from __future__ import annotations

import os
import signal
import sqlite3

import httpx
import pytest

from tests.support.daemon import Evsd, until
from tests.support.identity import Caller, Tenant, code
from tests.support.shown import CREDENTIALS, REFUSED, TOKENS, answered, basic, by, make, reason


@pytest.fixture(scope="module")
def user(acme: Tenant) -> Caller:
    return acme.user("token user", "user")


def test_a_token_is_its_user(user: Caller, stranger: httpx.Client) -> None:
    made = make(user, description="of a test")
    assert (made["user_id"], made["access"]) == (user.user_id, user.pair["access"])
    assert answered(stranger, by(made)) == (200, "")
    assert stranger.get(f"/v3/users/{user.user_id}", headers=by(made)).status_code == 200
    assert stranger.get("/v3/users", headers=by(made)).status_code == 403


def test_tokens_are_listed_without_what_lets_in(user: Caller) -> None:
    made = make(user, description="listed")
    listed = {one["id"]: one for one in user.ask("GET", TOKENS)["tokens"]}
    assert listed[made["id"]] == {name: made[name] for name in made if name != "token"}


@pytest.mark.parametrize("end", ["revoked", "expired", "key inactive", "key deleted", "user gone"])
def test_a_token_ends(acme: Tenant, stranger: httpx.Client, end: str) -> None:
    other, ask = acme.user(f"of {end}", "user"), acme.administrator.ask
    made = make(other)
    assert answered(stranger, by(made)) == (200, "")
    path = f"{CREDENTIALS}/{other.pair['access']}"
    if end == "revoked":
        other.ask("DELETE", f"{TOKENS}/{made['id']}")
    elif end == "expired":
        expire(acme.evsd, made["id"])
        until(lambda: "has expired" in stranger.get("/v3/projects", headers=by(made)).text)
        assert not [one for one in ask("GET", TOKENS)["tokens"] if one["id"] == made["id"]]
    elif end == "key inactive":
        ask("PUT", path, {"credential": {"status": "inactive"}})
        assert f"access key {other.pair['access']} of token" in reason(stranger, by(made))
    elif end == "key deleted":
        ask("DELETE", path)
    else:
        ask("PUT", f"/v3.0/OS-USER/users/{other.user_id}", {"user": {"enabled": False}})
    assert made["id"] in reason(stranger, by(made))


def expire(evsd: Evsd, token_id: str) -> None:
    """As if its time had passed; evsd-keys knows what it has read by heart."""
    with sqlite3.connect(evsd.state / "evsd.db", timeout=20) as database:
        database.execute(
            "UPDATE bearer_tokens SET expires_at = '2020-01-01 00:00:00' WHERE id = ?", [token_id]
        )
    os.kill(evsd.keys_pid, signal.SIGKILL)


def test_of_a_token_every_character_counts(user: Caller, stranger: httpx.Client) -> None:
    made = make(user)["token"]
    other = "B" if made[-5] == "A" else "A"
    wrong = f"{made[:-5]}{other}{made[-4:]}"
    assert answered(stranger, by(wrong)) == REFUSED
    for none in (made[:-1], made + "x", made.partition(".")[0], "notused", ""):
        assert answered(stranger, by(none)) == REFUSED
    assert "notused" not in reason(stranger, by("notused"))


def test_a_token_makes_no_others_and_no_access_keys(user: Caller, stranger: httpx.Client) -> None:
    headers = by(make(user))
    for path, body in (
        (TOKENS, {"token": {}}),
        (CREDENTIALS, {"credential": {}}),
        ("/v3.0/OS-CREDENTIAL/securitytokens", {"auth": {"identity": {"methods": ["token"]}}}),
    ):
        answer = stranger.post(path, json=body, headers=headers)
        assert (answer.status_code, code(answer)) == (403, "IAM.0002")


@pytest.mark.parametrize("seconds", [899, 86401, 0, "x", None])
def test_a_bad_duration_is_refused(user: Caller, seconds: object) -> None:
    refused = user.refused("POST", TOKENS, {"token": {"duration_seconds": seconds}})
    assert refused == (400, "IAM.0011")


def test_a_token_ends_with_a_key_of_its_users_alone(acme: Tenant, user: Caller) -> None:
    theirs = acme.administrator.pair["access"]
    for access in (theirs, "A" * 20):
        assert user.refused("POST", TOKENS, {"token": {"access": access}}) == (404, "IAM.0004")


def test_another_users_token_is_not_there(acme: Tenant, globex: Tenant, user: Caller) -> None:
    made = make(acme.administrator)
    for caller in (user, globex.administrator):
        refused = caller.refused("DELETE", f"{TOKENS}/{made['id']}")
        assert refused == (404, "IAM.0004")
    listed = acme.administrator.ask("GET", f"{TOKENS}?user_id={user.user_id}")["tokens"]
    assert {one["user_id"] for one in listed} <= {user.user_id}
    acme.administrator.ask("DELETE", f"{TOKENS}/{make(user)['id']}")


def test_evsctl_makes_lists_and_revokes_tokens(evsd_of_tenants: Evsd) -> None:
    made = evsd_of_tenants.object("token", "create", "--minutes", "20")["token"]
    assert made["access"] is None  # of the socket's user
    with httpx.Client(base_url=evsd_of_tenants.url()) as http:
        assert answered(http, by(made)) == (200, "")
        assert made["id"] in evsd_of_tenants.ok("token", "list")
        printed = evsd_of_tenants.ok("token", "create")
        assert answered(http, by(printed.split()[1])) == (200, "")
        assert evsd_of_tenants.ctl("token", "revoke", made["id"]).status == 2
        evsd_of_tenants.ok("token", "revoke", made["id"], "--yes")
        assert answered(http, by(made)) == REFUSED
    gone = evsd_of_tenants.ctl("token", "revoke", made["id"], "--yes")
    assert (gone.status, "does not exist" in gone.err) == (1, True)


def test_a_token_is_on_record_when_it_is_made_revoked_and_false(
    evsd_of_tenants: Evsd, user: Caller, stranger: httpx.Client
) -> None:
    made = make(user)
    user.ask("DELETE", f"{TOKENS}/{made['id']}")
    answered(stranger, by(made))
    records = evsd_of_tenants.object("audit", "list", "--limit", "1000")["records"]
    # Others have a context in words.
    contexts = [one for one in records if isinstance(one["context"], dict)]
    of_token = [one for one in contexts if one["context"].get("token_id") == made["id"]]
    assert [one["action"] for one in of_token] == ["revoke-token", "create-token"]
    assert {one["context"]["access"] for one in of_token} == {user.pair["access"]}


def test_neither_secret_nor_token_is_in_a_file(evsd_of_tenants: Evsd, user: Caller) -> None:
    made = make(user)
    secrets = [user.pair["secret"], made["token"], made["token"].partition(".")[2]]
    with httpx.Client(base_url=user.url) as http:
        for headers in (by(made), by(made["token"][:-1]), basic(user.pair["access"], secrets[0])):
            answered(http, headers)
        answered(http, basic(secrets[0], user.pair["access"]))
        answered(http, basic(user.pair["access"], secrets[1]))
    files = [evsd_of_tenants.log, *evsd_of_tenants.state.rglob("*")]
    for file in files:
        if file.is_file():
            content = file.read_bytes()
            assert not [one for one in secrets if one.encode() in content], file
