"""Lists as clients page through them: each client's own loop, to the end, and nothing missed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import httpx
import pytest
from huaweicloudsdkkms.v2 import KmsClient

from tests.api.conftest import MakeClient
from tests.support.daemon import Evsd
from tests.support.kms import Kms

KEYS, GRANTS, VOLUMES = 6, 4, 4
Ask = Callable[[dict[str, Any]], Any]


class Project:
    """A project with some keys, grants on one of them, and volumes."""

    def __init__(self, evsd: Evsd) -> None:
        self.http = evsd.http()
        self.id = evsd.project_id()
        for number in range(VOLUMES):
            volume = {"volume": {"name": f"disk-{number}", "size": 1}}
            self.http.post(f"/v2/{self.id}/cloudvolumes", json=volume).raise_for_status()
        made = [self.kms("create-key", key_alias=f"page-{number}") for number in range(KEYS - 2)]
        self.key_id = made[0]["key_info"]["key_id"]
        me = next(u["id"] for u in evsd.object("user", "list")["users"] if u["name"] == "root")
        for _ in range(GRANTS):
            self.kms(
                "create-grant",
                key_id=self.key_id,
                grantee_principal=me,
                retiring_principal=me,
                operations=["describe-key"],
            )

    def kms(self, operation: str, **body: Any) -> Any:
        """One operation that must succeed."""
        answer = self.http.post(f"/v1.0/{self.id}/kms/{operation}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def volumes(self, query: dict[str, Any]) -> Any:
        """One page of volumes."""
        return self.http.get(f"/v2/{self.id}/cloudvolumes/detail", params=query).json()


@pytest.fixture(scope="module")
def project(tcp_evsd: Evsd) -> Iterator[Project]:
    made = Project(tcp_evsd)
    yield made
    made.http.close()


def lists(project: Project) -> dict[str, tuple[Ask, str, int]]:
    """Every list of the KMS by markers: how it is asked for, what it lists, how many there are."""
    return {
        "keys": (lambda b: project.kms("list-keys", **b), "keys", KEYS),
        "grants": (
            lambda b: project.kms("list-grants", key_id=project.key_id, **b),
            "grants",
            GRANTS,
        ),
        "retirable": (lambda b: project.kms("list-retirable-grants", **b), "grants", GRANTS),
    }


NAMES = ("keys", "grants", "retirable")
LIMITS = (1, 2, 3, GRANTS, KEYS, KEYS + 1, 1000)


def distinct(found: list[Any]) -> int:
    return len({str(one) for one in found})


def as_published(ask: Ask, name: str, limit: int) -> Iterator[Any]:
    """As the documents say: on from next_marker while truncated is "true"."""
    page: Any = {"truncated": "true", "next_marker": "0"}
    while page["truncated"] == "true":
        page = ask({"limit": str(limit), "marker": page["next_marker"]})
        yield from page[name]


def as_otcextensions(ask: Ask, name: str, limit: int) -> Iterator[Any]:
    """Otcextensions 0.34.8, sdk/kms/v1/key.py: "false" is true to it, an empty marker ends it."""
    body: dict[str, Any] = {"limit": limit}
    going_on = True
    while going_on:
        page = ask(body)
        yield from page[name]
        going_on = bool(page[name] and page["truncated"] and page["next_marker"])
        body["marker"] = page["next_marker"]


def by_total(ask: Ask, name: str, limit: int) -> Iterator[Any]:
    """As other clients do: until they have as many as there are."""
    got, total = 0, 1
    while got < total:
        page = ask({"limit": limit, "marker": got})
        got, total = got + len(page[name]), page["total"]
        yield from page[name]


def until_a_short_page(ask: Ask, name: str, limit: int) -> Iterator[Any]:
    """And others: until a page is not full."""
    got, last = 0, limit
    while last == limit:
        page = ask({"limit": limit, "marker": got})
        last = len(page[name])
        got += last
        yield from page[name]


@pytest.mark.parametrize("client", [as_published, as_otcextensions, by_total, until_a_short_page])
@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("name", NAMES)
def test_every_client_gets_all_of_a_list_and_ends(
    project: Project, name: str, limit: int, client: Callable[..., Iterator[Any]]
) -> None:
    ask, field, there = lists(project)[name]
    found = list(islice(client(ask, field, limit), 10 * there))
    assert (len(found), distinct(found)) == (there, there)


@pytest.mark.parametrize("name", NAMES)
def test_the_last_page_says_so_however_it_was_reached(project: Project, name: str) -> None:
    ask, field, there = lists(project)[name]
    for body in ({}, {"limit": there}, {"limit": 1, "marker": there - 1}, {"marker": there + 5}):
        page = ask(body)
        assert (page["truncated"], page["next_marker"], page["total"]) == ("false", "", there)
    page = ask({"limit": there - 1})
    assert (page["truncated"], page["next_marker"]) == ("true", str(there - 1))
    assert len(page[field]) == there - 1


def as_custodian(ask: Ask, field: str, limit: int) -> Iterator[Any]:
    """c7n 0.9.53 with c7n-huaweicloud 0.1.1, query.py, `_pagination_limit_offset`.

    Of keys it sets limit and offset on a request that has neither, so that each is the same, and
    goes on while it is answered with exactly `limit` (100) of them.
    """
    offset, going_on = 0, True
    while going_on:
        found = ask({"limit": limit, "offset": offset})[field]
        yield from found
        going_on, offset = len(found) == limit, offset + limit


def test_custodian_gets_all_keys_at_once(project: Project) -> None:
    """With exactly as many as it takes for a page it asks again: no answer could keep it from it.

    All of them are in each answer, so it never acts on a part of them.
    """
    ask: Ask = lambda _: project.kms("list-keys", key_spec="ALL")  # noqa: E731
    for limit in (KEYS - 1, KEYS + 1):
        found = list(as_custodian(ask, "key_details", limit))
        assert (len(found), distinct(found)) == (KEYS, KEYS)
    again = list(islice(as_custodian(ask, "key_details", KEYS), 2 * KEYS))
    assert again[:KEYS] == again[KEYS:]
    assert distinct(again) == KEYS


@pytest.mark.parametrize("limit", [1, 2, 3, VOLUMES, VOLUMES + 1])
def test_custodian_gets_all_volumes_and_ends(project: Project, limit: int) -> None:
    found = list(islice(as_custodian(project.volumes, "volumes", limit), 10 * VOLUMES))
    assert (len(found), distinct(found)) == (VOLUMES, VOLUMES)


@pytest.mark.parametrize("limit", [1, 3, KEYS])
def test_keys_found_by_tags_come_in_pages(project: Project, limit: int) -> None:
    def ask(page: dict[str, Any]) -> Any:
        return project.kms("resource_instances/action", action="filter", **page)

    found = list(islice(as_custodian(ask, "resources", limit), 10 * KEYS))
    assert (len(found), distinct(found)) == (KEYS, KEYS)


def test_the_sdk_pages_as_published(project: Project, make_client: MakeClient) -> None:
    kms = Kms(make_client(KmsClient))
    marker, truncated, found = "0", "true", []
    while truncated == "true":
        page = kms("list_keys", limit="4", marker=marker)
        found += page.keys
        marker, truncated = page.next_marker, page.truncated
        assert page.total == KEYS
    assert distinct(found) == len(found) == KEYS
    assert project.key_id in found


@pytest.mark.parametrize(
    ("filters", "finds"),
    [
        ({"enterprise_project_id": "0"}, KEYS),
        ({"enterprise_project_id": "all"}, KEYS),
        ({"enterprise_project_id": "00000000-0000-4000-8000-000000000000"}, 0),
        ({"key_state": "2"}, KEYS),
        ({"key_state": "3"}, 0),
        ({"key_spec": "ALL"}, KEYS),
        ({"key_spec": "SM4"}, 0),
    ],
)
def test_filters_of_keys_count(project: Project, filters: dict[str, str], finds: int) -> None:
    page = project.kms("list-keys", **filters)
    assert (len(page["keys"]), page["total"], page["truncated"]) == (finds, finds, "false")


def test_of_two_parts_of_a_name_none_is_ignored(project: Project) -> None:
    parts = [{"key": "resource_name", "value": part} for part in ("page-1", "page-2")]
    path = f"/v1.0/{project.id}/kms/resource_instances/action"
    answer: httpx.Response = project.http.post(path, json={"action": "filter", "matches": parts})
    assert answer.status_code == 400
