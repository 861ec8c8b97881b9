"""What the cloud's SDK for Node.js signs is understood: it encodes encoded paths once more."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from evsd import signature
from tests.support.daemon import Evsd
from tests.support.node import Node


@pytest.fixture(scope="module")
def node(tcp_evsd: Evsd, credential: dict[str, str]) -> Node:
    return Node(tcp_evsd.url(), credential)


@pytest.mark.parametrize(
    "value",
    ["plain", "a b", "größe", "größe a", "a%20b", "%C3%BC%20b", "a'b|c^d", "a(b)*!~", "100%"],
)
def test_paths_are_understood_as_node_signs_them(node: Node, value: str) -> None:
    status = node.status("GET", "/v3/projects/{x}", pathParams={"x": value})
    assert status == 404  # let in, and there is no such project


@pytest.mark.parametrize(
    "query",
    [
        {"name": "gr\u00fc\u00df dich"},
        {"z": "(1)*!'", "a": "2", "B": "\u4e2d\u6587"},
        {"a": ["b c", "a:", "a5", "B"]},
        {"a:": "1", "a5": "2", "name": ""},
    ],
)
def test_queries_are_understood_as_node_signs_them(node: Node, query: dict[str, Any]) -> None:
    assert node.status("GET", "/v3/projects", queryParams=query) == 200


def test_a_tag_is_removed_by_node_whatever_its_key(node: Node, tcp_evsd: Evsd) -> None:
    project = tcp_evsd.project_id()
    key_id = tcp_evsd.object("key", "show", "test-key")["key_info"]["key_id"]
    path = f"/v1.0/{project}/kms/{key_id}/tags"
    assert node.status("POST", path, data={"tag": {"key": "größe 1", "value": "ü"}}) == 204
    assert node("GET", path)["tags"] == [{"key": "größe 1", "value": "ü"}]
    assert node.status("DELETE", f"{path}/{{key}}", pathParams={"key": "größe 1"}) == 204
    assert node("GET", path)["tags"] == []


def test_node_finds_its_project_by_the_region(node: Node, tcp_evsd: Evsd) -> None:
    url = "/v2/{project_id}/cloudvolumes/detail"
    assert node("GET", url, region="local")["count"] == 0
    assert len(tcp_evsd.object("project", "list")["projects"]) == 1  # it would have made one


@pytest.mark.parametrize("sent", ["/v3/projects/a%20c", "/v3/projects/a%2520b", "/v3/projects/ab"])
def test_a_path_that_is_signed_twice_encoded_is_signed_for_no_other(
    tcp_evsd: Evsd, credential: dict[str, str], sent: str
) -> None:
    host = tcp_evsd.url().removeprefix("http://")
    signed = signature.headers_of(
        credential["access"],
        credential["secret"],
        "GET",
        "/v3/projects/a%252520b",  # as the path /v3/projects/a%2520b is signed once more
        "",
        {"host": host},
        b"",
    )
    status = httpx.get(tcp_evsd.url() + sent, headers=signed).status_code
    assert status == (404 if sent.endswith("a%2520b") else 401)
