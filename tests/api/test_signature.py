"""The request signature: what may not be changed, left out or sent late."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from evsd.iam import signature
from tests.support.daemon import Evsd

PATH = "/v3/projects"


class Signer:
    """Requests signed by hand, so that each part can be spoiled."""

    def __init__(self, evsd: Evsd, credential: dict[str, str]) -> None:
        self.url, self.pair = evsd.url(), credential
        self.host = self.url.removeprefix("http://")

    def headers(
        self,
        *,
        method: str = "GET",
        query: str = "",
        body: bytes = b"",
        moment: datetime | None = None,
        signed: tuple[str, ...] = ("host", "x-sdk-date"),
        **extra: str,
    ) -> dict[str, str]:
        date = (moment or datetime.now(UTC)).strftime(signature.DATE_FORMAT)
        headers = {"host": self.host, "x-sdk-date": date}
        headers |= {name.replace("_", "-"): value for name, value in extra.items()}
        digest = hashlib.sha256(body).hexdigest()
        canonical = signature.canonical_request(method, PATH, query, headers, signed, digest)
        value = signature.sign(self.pair["secret"], signature.string_to_sign(date, canonical))
        return {**headers, "authorization": self.authorization(signed, value)}

    def authorization(self, signed: tuple[str, ...], value: str) -> str:
        return signature.authorization(self.pair["access"], signed, value)

    def get(self, headers: dict[str, str] | list[tuple[str, str]], path: str = PATH) -> int:
        return httpx.get(f"{self.url}{path}", headers=headers).status_code


@pytest.fixture(scope="module")
def signer(tcp_evsd: Evsd, credential: dict[str, str]) -> Signer:
    return Signer(tcp_evsd, credential)


def test_a_signed_request_is_let_in(signer: Signer) -> None:
    assert signer.get(signer.headers()) == 200


@pytest.mark.parametrize("minutes", [-14, 14])
def test_a_clock_a_little_off_is_accepted(signer: Signer, minutes: int) -> None:
    moment = datetime.now(UTC) + timedelta(minutes=minutes)
    assert signer.get(signer.headers(moment=moment)) == 200


@pytest.mark.parametrize("minutes", [-16, 16, -60 * 24 * 365])
def test_a_date_outside_the_window_is_refused(signer: Signer, minutes: int) -> None:
    moment = datetime.now(UTC) + timedelta(minutes=minutes)
    assert signer.get(signer.headers(moment=moment)) == 401


def test_another_path_query_or_method_than_was_signed_is_refused(signer: Signer) -> None:
    headers = signer.headers()
    assert signer.get(headers, "/v3/auth/domains") == 401
    assert signer.get(headers, f"{PATH}?name=default") == 401
    assert httpx.post(f"{signer.url}{PATH}", headers=headers).status_code == 401


def test_another_body_than_was_signed_is_refused(signer: Signer) -> None:
    headers = signer.headers(method="POST", body=b"{}")
    answer = httpx.post(f"{signer.url}{PATH}", headers=headers, content=b'{"a":1}')
    assert answer.status_code == 401


@pytest.mark.parametrize("signed", [("host",), ("x-sdk-date",)])
def test_host_and_date_must_be_signed(signer: Signer, signed: tuple[str, ...]) -> None:
    assert signer.get(signer.headers(signed=signed)) == 401


@pytest.mark.parametrize("name", ["x-project-id", "x-domain-id", "x-security-token"])
def test_what_chooses_the_tenant_must_be_signed(signer: Signer, name: str) -> None:
    assert signer.get({**signer.headers(), name: "something"}) == 401


def test_a_signed_header_may_be_there_once_only(signer: Signer) -> None:
    signed = ("host", "x-project-id", "x-sdk-date")
    headers = signer.headers(signed=signed, x_project_id="mine")
    assert signer.get(headers) == 200
    assert signer.get([("x-project-id", "other"), *headers.items()]) == 401


@pytest.mark.parametrize(
    "value",
    ["", "Basic x", "SDK-HMAC-SHA256 Access=A, SignedHeaders=host, Signature=zz", "x" * 10_000],
)
def test_nonsense_for_a_signature_is_refused(signer: Signer, value: str) -> None:
    assert signer.get({**signer.headers(), "authorization": value}) == 401


def test_every_changed_digit_of_a_signature_is_refused(signer: Signer) -> None:
    headers = signer.headers()
    head, value = headers["authorization"].rsplit("=", 1)
    for position in range(0, 64, 7):
        digit = "0" if value[position] != "0" else "1"
        spoiled = value[:position] + digit + value[position + 1 :]
        assert signer.get({**headers, "authorization": f"{head}={spoiled}"}) == 401
