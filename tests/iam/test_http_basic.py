"""HTTP Basic: whom an access key and its secret let in, and by which way either secret may come."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evsd.errors import CallerUnknown
from evsd.services.iam import credentials
from tests.support import tls
from tests.support.daemon import Evsd, running_evsd, temporary_state
from tests.support.identity import Caller, Tenant
from tests.support.shown import CREDENTIALS, REFUSED, answered, basic, by, make, reason


def _as_basic(content: bytes) -> bytes:
    return b"Basic " + base64.b64encode(content)


@pytest.fixture(scope="module")
def user(acme: Tenant) -> Caller:
    return acme.user("basic user", "user")


def test_a_pair_is_its_user(user: Caller, stranger: httpx.Client) -> None:
    headers = basic(user.pair["access"], user.pair["secret"])
    assert answered(stranger, headers) == (200, "")
    shown = stranger.get(f"/v3/users/{user.user_id}", headers=headers)
    assert shown.json()["user"]["name"] == "basic user"
    assert stranger.get("/v3/users", headers=headers).status_code == 403


@pytest.mark.parametrize(
    ("access", "secret", "why"),
    [
        ("{access}", "", "this is not the secret of access key {access}"),
        ("{access}", "{secret}x", "this is not the secret of access key {access}"),
        ("{access}", "{SECRET}", "this is not the secret of access key {access}"),
        ("AAAAAAAAAAAAAAAAAAAA", "{secret}", "access key AAAAAAAAAAAAAAAAAAAA does not exist"),
        ("{secret}", "{access}", "the user name of HTTP Basic is no access key"),
        ("", "{secret}", "the user name of HTTP Basic is no access key"),
        ("alice", "{secret}", "the user name of HTTP Basic is no access key"),
    ],
)
def test_a_wrong_pair_is_refused_and_told_apart(
    user: Caller, stranger: httpx.Client, access: str, secret: str, why: str
) -> None:
    known = {**user.pair, "SECRET": user.pair["secret"].swapcase()}
    told = reason(stranger, basic(access.format(**known), secret.format(**known)))
    assert why.format(**known) in told
    assert user.pair["secret"] not in told


@pytest.mark.parametrize("given", ["", "x", "!!!", base64.b64encode(b"no colon").decode(), "/w=="])
def test_what_is_no_pair_is_refused(stranger: httpx.Client, given: str) -> None:
    assert "HTTP Basic" in reason(stranger, {"authorization": f"Basic {given}".strip()})


@given(
    authorization=st.one_of(st.none(), st.binary(), st.binary().map(_as_basic)),
    token=st.one_of(st.none(), st.binary()),
)
def test_whatever_is_shown_is_a_question_or_refused_without_being_named(
    authorization: bytes | None, token: bytes | None
) -> None:
    headers = [(b"authorization", authorization), (b"x-auth-token", token)]
    shown = [(name, value) for name, value in headers if value is not None]
    credentials.named(shown)
    try:
        asked = credentials.read(shown)
    except CallerUnknown as error:
        named = error.text.encode()
        assert all(len(value) < 9 or value not in named for _, value in shown)
    else:
        assert asked is None or "secret" not in repr(asked)


def test_an_inactive_key_lets_nobody_in(acme: Tenant, stranger: httpx.Client) -> None:
    other = acme.user("inactive", "user")
    headers = basic(other.pair["access"], other.pair["secret"])
    path = f"{CREDENTIALS}/{other.pair['access']}"
    acme.administrator.ask("PUT", path, {"credential": {"status": "inactive"}})
    assert "is inactive" in reason(stranger, headers)
    acme.administrator.ask("PUT", path, {"credential": {"status": "active"}})
    assert answered(stranger, headers) == (200, "")
    acme.administrator.ask("DELETE", path)
    assert answered(stranger, headers) == REFUSED


def test_a_temporary_pair_comes_with_its_security_token(
    user: Caller, stranger: httpx.Client
) -> None:
    wanted = {"auth": {"identity": {"methods": ["token"]}}}
    made = user.ask("POST", "/v3.0/OS-CREDENTIAL/securitytokens", wanted)["credential"]
    headers = basic(made["access"], made["secret"])
    assert "X-Security-Token is missing" in reason(stranger, headers)
    whole = {**headers, "x-security-token": made["securitytoken"]}
    assert answered(stranger, whole) == (200, "")


def test_two_authorizations_are_none(user: Caller, stranger: httpx.Client) -> None:
    [given] = basic(user.pair["access"], user.pair["secret"]).items()
    assert stranger.get("/v3/projects", headers=[given, given]).status_code == 401


# --- by which way ------------------------------------------------------------------------------


def test_on_the_unix_socket_what_a_proxy_hands_on_counts(
    evsd_of_tenants: Evsd, user: Caller
) -> None:
    """Whoever the proxy is: root, here, who may do more."""
    with evsd_of_tenants.http() as http:
        assert http.get("/v3/users").status_code == 200
        for headers in (by(make(user)), basic(user.pair["access"], user.pair["secret"])):
            assert answered(http, headers) == (200, "")
            assert http.get("/v3/users", headers=headers).status_code == 403
        for headers in (by("notused"), basic(user.pair["access"], "x")):
            assert answered(http, headers) == REFUSED


ADDRESS = "192.0.2.7"
# A host of its own, with an address that is no loopback's.
HOST = (
    *("unshare", "--net", "sh", "-c"),
    f'ip link set lo up && ip addr add {ADDRESS}/32 dev lo && exec "$@"',
    "sh",
)
ASK = """
import sys, httpx
answer = httpx.get(sys.argv[1], headers={sys.argv[2]: sys.argv[3]}, verify=False)
print(answer.status_code, answer.text)
"""


@contextmanager
def far_away(*options: str) -> Iterator[Callable[[str], list[str]]]:
    """What an evsd answers to either secret, shown from an address that is not its host's own."""
    with running_evsd("--http", f"{ADDRESS}:0", *options, before=HOST) as evsd:
        pair = evsd.object("access-key", "create")["credential"]
        token = evsd.object("token", "create")["token"]
        inside = ("nsenter", "--net", "--target", str(evsd.pid), sys.executable, "-c", ASK)

        def ask(path: str) -> list[str]:
            shown = [*basic(pair["access"], pair["secret"]).items(), *by(token).items()]
            asked = [[*inside, evsd.url() + path, *header] for header in shown]
            return [subprocess.check_output(words, text=True) for words in asked]

        yield ask
        assert pair["secret"] not in evsd.log.read_text()
        assert token["token"] not in evsd.log.read_text()


def test_in_clear_beyond_the_host_both_are_refused_whatever_they_are() -> None:
    with far_away("--allow-plain-http") as ask:
        for told in ask("/v3/projects"):
            assert told.startswith("401 ")
            assert f"came in clear from {ADDRESS}" in told
            assert "use https" in told


def test_by_tls_both_are_taken_from_anywhere(tmp_path: Path) -> None:
    with temporary_state() as directory:
        certificates, settings = tls.make(directory), tmp_path / "evsd.toml"
        settings.write_text(
            f'[tls]\ncertificate = "{certificates.certificate}"\nkey = "{certificates.key}"\n'
        )
        with far_away("--config", str(settings)) as ask:
            for told in ask("/v3/projects"):
                assert told.startswith("200 ")
