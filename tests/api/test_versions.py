"""Version documents: of all services, on all paths clients ask first, for whoever asks."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import huaweicloudsdkevs.v2 as evs
import pytest

from tests.api.conftest import MakeClient
from tests.support.daemon import Evsd


@pytest.fixture(scope="module")
def stranger(tcp_evsd: Evsd) -> Iterator[httpx.Client]:
    """Somebody who signs nothing."""
    with httpx.Client(base_url=tcp_evsd.url(), timeout=60) as http:
        yield http


@pytest.mark.parametrize("path", ["/", "/versions"])
def test_all_services_versions_are_listed_for_whoever_asks(
    stranger: httpx.Client, path: str
) -> None:
    versions = {version["id"]: version for version in stranger.get(path).json()["versions"]}
    assert set(versions) == {"v1.0", "v2.0", "v2.1", "v3.0"}
    assert (versions["v3.0"]["min_version"], versions["v3.0"]["status"]) == ("3.0", "CURRENT")


@pytest.mark.parametrize("end", ["", "/"])
@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/v1", "v1.0"),
        ("/v1.0", "v1.0"),
        ("/v2", "v2.0"),
        ("/v2.0", "v2.0"),
        ("/v2.1", "v2.1"),
        ("/v3", "v3.0"),
        ("/v3.0", "v3.0"),
    ],
)
def test_each_version_has_its_document(
    stranger: httpx.Client, path: str, end: str, wanted: str
) -> None:
    answer = stranger.get(path + end)
    assert answer.status_code == 200
    shown = answer.json()
    assert [version["id"] for version in shown["versions"]] == [wanted]
    assert shown["version"] == shown["versions"][0]


def test_the_links_of_versions_lead_to_them(stranger: httpx.Client) -> None:
    for version in stranger.get("/").json()["versions"]:
        shown = stranger.get(version["links"][0]["href"]).json()
        assert shown["version"] == version


@pytest.mark.parametrize("path", ["/v9", "/nowhere", "/v3/projects", "/v3//", "//", "/v2/x"])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS"])
def test_a_stranger_reads_nothing_else(stranger: httpx.Client, method: str, path: str) -> None:
    url = stranger.base_url.copy_with(raw_path=path.encode())
    assert stranger.request(method, url).status_code == 401


@pytest.mark.parametrize("given", ["Basic eDp5", "Bearer x", "AWS4-HMAC-SHA256 Credential=A"])
def test_whoever_signs_in_another_way_reads_them_first(stranger: httpx.Client, given: str) -> None:
    headers = {"authorization": given, "x-auth-token": "notused"}
    assert stranger.get("/v3", headers=headers).status_code == 200


def test_a_false_signature_is_refused_here_too(stranger: httpx.Client) -> None:
    given = "SDK-HMAC-SHA256 Access=A, SignedHeaders=host;x-sdk-date, Signature=" + "0" * 64
    assert stranger.get("/v3", headers={"authorization": given}).status_code == 401


def test_a_stranger_does_nothing_but_read(stranger: httpx.Client) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert stranger.request(method, "/v3").status_code == 401


def test_the_sdk_shows_versions(make_client: MakeClient) -> None:
    client: Any = make_client(evs.EvsClient)
    assert "v2.0" in [v.id for v in client.list_versions(evs.ListVersionsRequest()).versions]
    shown = client.show_version(evs.ShowVersionRequest(version="v3")).versions
    assert [version.id for version in shown] == ["v3.0"]


def test_a_request_without_host_gets_an_answer(stranger: httpx.Client) -> None:
    address = urlsplit(str(stranger.base_url))
    with socket.create_connection((address.hostname, address.port)) as raw:
        raw.sendall(b"GET / HTTP/1.0\r\nConnection: close\r\n\r\n")
        answer = b""
        while part := raw.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("path", ["/v3/projects/", "/v3/auth/domains/"])
def test_a_slash_too_many_is_no_redirect(tcp_evsd: Evsd, path: str) -> None:
    """The SDKs follow none, and take it for an answer with nothing in it."""
    with tcp_evsd.http() as http:
        assert http.get(path).status_code == 404
