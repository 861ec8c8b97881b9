"""The request signature: what may not be changed, left out or sent late."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from huaweicloudsdkcore.auth.credentials import GlobalCredentials
from huaweicloudsdkcore.exceptions.exceptions import ServiceResponseException
from huaweicloudsdkiam.v3 import IamClient

from evsd import signature
from tests.api.conftest import MakeClient
from tests.support.daemon import Evsd

PATH = "/v3/projects"


class Signer:
    """Requests signed by hand, so that each part can be spoiled."""

    def __init__(self, evsd: Evsd, credential: dict[str, str]) -> None:
        self.pair, self.host = credential, evsd.url().removeprefix("http://")
        self.http = httpx.Client(base_url=evsd.url(), timeout=60)

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
        return self.http.get(path, headers=headers).status_code


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
    assert signer.http.post(PATH, headers=headers).status_code == 401


def test_another_body_than_was_signed_is_refused(signer: Signer) -> None:
    headers = signer.headers(method="POST", body=b"{}")
    answer = signer.http.post(PATH, headers=headers, content=b'{"a":1}')
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


# --- what the SDK signs, whatever it is, is understood -------------------------------------------


class Sdk:
    """The SDK's own signer and HTTP client, for requests of any shape."""

    def __init__(self, evsd: Evsd, credential: dict[str, str]) -> None:
        with evsd.http() as http:
            domain_id = http.get("/v3/auth/domains").json()["domains"][0]["id"]
        credentials = GlobalCredentials(credential["access"], credential["secret"], domain_id)
        builder = IamClient.new_builder().with_credentials(credentials)
        self.client = builder.with_endpoint(evsd.url()).build()

    def status(self, method: str = "GET", path: str = PATH, **given: Any) -> int:
        """The status of the answer."""
        headers = {"Content-Type": given.get("content_type", "application/json")}
        try:
            answer = self.client.do_http_request(
                method=method,
                resource_path=path,
                path_params=given.get("path_params", {}),
                query_params=given.get("query", []),
                header_params={**headers, **given.get("headers", {})},
                body=given.get("body"),
                response_type="KeystoneListProjectsResponse",
            )
        except ServiceResponseException as refused:
            return int(refused.status_code)
        return int(answer.status_code)


@pytest.fixture(scope="module")
def sdk(make_client: MakeClient, tcp_evsd: Evsd, credential: dict[str, str]) -> Sdk:
    del make_client  # it keeps the SDK out of your HOME
    return Sdk(tcp_evsd, credential)


@pytest.mark.parametrize(
    "query",
    [
        [("name", "gr\u00fc\u00df dich")],
        [("name", "a b+c&d=e*f~g/h?i")],
        [("name", "")],
        [("name", '{"json": ["x", 1]}')],
        [("name", ["b", "a", "c"])],
        [("per_page", [10, 9, 100]), ("name", "z")],
        [("enabled", True)],
        [("name", "\u4e2d\u6587"), ("a", "1"), ("B", "2")],
    ],
)
def test_queries_are_understood_as_the_sdk_signs_them(sdk: Sdk, query: Any) -> None:
    assert sdk.status(query=query) == 200


@pytest.mark.parametrize("value", ["gr\u00fc\u00df", "a b", "a/b", "a%2Fb", "~a-b_c.d", "a+b&c"])
def test_paths_are_understood_as_the_sdk_signs_them(sdk: Sdk, value: str) -> None:
    status = sdk.status(path="/v3/projects/{x}", path_params={"x": value})
    assert status == 404  # let in, and there is no such project


@pytest.mark.parametrize("method", ["GET", "DELETE", "HEAD", "PUT", "POST"])
def test_an_empty_body_is_understood(sdk: Sdk, method: str) -> None:
    assert sdk.status(method, "/v3/groups/missing/users/missing") == 404


def test_a_body_in_utf_8_is_understood(sdk: Sdk) -> None:
    body = '{"group": {"name": "g", "description": "gr\u00fc\u00df dich"}}'
    assert sdk.status("POST", "/v3/groups", body=body) == 201


@pytest.mark.parametrize("name", ["X-Language", "X-Anything"])
def test_other_headers_in_utf_8_are_understood(sdk: Sdk, name: str) -> None:
    assert sdk.status(headers={name: "gr\u00fc\u00df dich"}) == 200


def test_an_unsigned_payload_is_refused(sdk: Sdk) -> None:
    body = '{"group": {"name": "unsigned"}}'
    status = sdk.status("POST", "/v3/groups", body=body, content_type="text/plain")
    assert status == 401


# --- more that is refused ----------------------------------------------------------------------


def test_a_query_may_be_signed_in_order_and_sent_in_another(signer: Signer) -> None:
    headers = signer.headers(query="a=1&b=%20x")
    assert signer.get(headers, f"{PATH}?b=%20x&a=1") == 200
    assert signer.get(headers, f"{PATH}?b=%20x&a=2") == 401


def test_an_inactive_key_is_refused_until_it_is_active(tcp_evsd: Evsd) -> None:
    pair = tcp_evsd.object("access-key", "create")["credential"]
    signer = Signer(tcp_evsd, pair)
    tcp_evsd.ok("access-key", "disable", pair["access"])
    assert signer.get(signer.headers()) == 401
    tcp_evsd.ok("access-key", "enable", pair["access"])
    assert signer.get(signer.headers()) == 200
    tcp_evsd.ok("access-key", "delete", pair["access"], "--yes")
    assert signer.get(signer.headers()) == 401


def test_the_secret_is_not_in_the_database(tcp_evsd: Evsd, credential: dict[str, str]) -> None:
    for file in tcp_evsd.state.glob("evsd.db*"):
        content = file.read_bytes()
        assert credential["secret"].encode() not in content
    assert any(
        credential["access"].encode() in file.read_bytes()
        for file in tcp_evsd.state.glob("evsd.db*")
    )


def test_a_refusal_has_the_gateways_body(signer: Signer) -> None:
    answer = signer.http.get(PATH)
    assert set(answer.json()) == {"error_code", "error_msg", "message", "request_id"}
    assert answer.json()["message"] == answer.json()["error_msg"]  # all that boto3 shows
    assert answer.json()["error_code"] == "APIGW.0301"
    assert answer.json()["error_msg"].startswith("Incorrect IAM authentication information: ")
    assert answer.headers["x-request-id"] == answer.json()["request_id"]


def test_the_last_use_of_a_key_is_told(tcp_evsd: Evsd, credential: dict[str, str]) -> None:
    signer = Signer(tcp_evsd, credential)
    assert signer.get(signer.headers()) == 200
    shown = tcp_evsd.object("access-key", "show", credential["access"])["credential"]
    assert datetime.now(UTC) - datetime.fromisoformat(shown["last_use_time"]) < timedelta(
        minutes=16
    )


@pytest.mark.parametrize("name", ["authorization", "x-sdk-date"])
def test_what_decides_may_not_be_there_twice(signer: Signer, name: str) -> None:
    headers = signer.headers()
    assert signer.get([(name, headers[name]), *headers.items()]) == 401


@pytest.mark.parametrize(
    ("headers", "query", "named"),
    [
        (
            {"authorization": "AWS4-HMAC-SHA256 Credential=A/b/c, SignedHeaders=host, Signature=0"},
            "",
            "AWS4-HMAC-SHA256 of AWS",
        ),
        ({"authorization": "AWS AKIDEXAMPLE:c2VjcmV0"}, "", "AWS of AWS"),
        ({}, "?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=00", "an AWS signature"),
        ({"authorization": "Bearer top-secret"}, "", "Bearer"),
        ({"authorization": "SDK-HMAC-SM3 Access=A"}, "", "SDK-HMAC-SM3"),
        ({"authorization": "V11-HMAC-SHA256 Credential=A"}, "", "V11-HMAC-SHA256"),
        ({"authorization": "SDK-HMAC-SHA256 Access=A"}, "", "Access=AK, SignedHeaders=host;x-sdk"),
        ({}, "", "no SDK-HMAC-SHA256 signature"),
    ],
)
def test_who_proves_it_in_no_known_way_learns_which_is_wanted(
    signer: Signer, headers: dict[str, str], query: str, named: str
) -> None:
    answer = signer.http.get(PATH + query, headers=headers)
    assert answer.status_code == 401
    assert named in answer.json()["message"]
    assert "SDK-HMAC-SHA256" in answer.json()["message"]
    for secret in ("top-secret", "dG9wLXNlY3JldDp4", "c2VjcmV0"):
        assert secret not in answer.text


@pytest.mark.parametrize(
    "date", ["2026-01-31T23:59:59Z", "", "20260131T235959", "20261331T000000Z"]
)
def test_a_date_of_another_form_is_answered_with_the_servers(signer: Signer, date: str) -> None:
    answer = signer.http.get(PATH, headers={**signer.headers(), "x-sdk-date": date})
    shown = re.search(r"now, (\d{8}T\d{6}Z)", answer.json()["message"])
    assert shown is not None
    told = datetime.strptime(shown[1], signature.DATE_FORMAT).replace(tzinfo=UTC)
    assert abs(datetime.now(UTC) - told) < timedelta(minutes=5)


def test_a_clock_that_is_off_is_told_the_servers_time(signer: Signer) -> None:
    headers = signer.headers(moment=datetime.now(UTC) - timedelta(hours=2))
    message = signer.http.get(PATH, headers=headers).json()["message"]
    assert re.search(r"signature expired: signed \d{8}T\d{6}Z, now \d{8}T\d{6}Z", message)
