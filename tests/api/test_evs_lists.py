"""Lists of volumes: each published filter counts or is refused, whatever else it can't do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import huaweicloudsdkevs.v2 as evs
import pytest

from tests.api.conftest import MakeClient
from tests.support.daemon import Evsd

MISSING = "00000000-0000-4000-8000-000000000000"


class Volumes:
    """Five volumes of a project, by number, and lists of them."""

    def __init__(self, evsd: Evsd) -> None:
        self.http = evsd.http()
        self.base = f"/v2/{evsd.project_id()}/cloudvolumes"
        for number in range(5):
            volume = {
                "name": f"disk-{number}",
                "size": 1,
                "volume_type": "SAS" if number == 4 else "SSD",
                "metadata": {"parity": "odd" if number % 2 else "even", 'a"b.$[0]': "x"},
                "tags": {"number": str(number), **({"odd": "yes"} if number % 2 else {})},
            }
            assert self.http.post(self.base, json={"volume": volume}).status_code == 200
        self.ids = {volume["name"]: volume["id"] for volume in self.ask()["volumes"]}
        self.attach("disk-3", "host-a")

    def attach(self, name: str, server_id: str) -> None:
        """Reserve it for a server."""
        wanted = {"volume_uuid": self.ids[name], "instance_uuid": server_id, "connector": {}}
        path = self.base.replace("/v2/", "/v3/").replace("cloudvolumes", "attachments")
        assert self.http.post(path, json={"attachment": wanted}).status_code == 200

    def type_id(self, name: str) -> str:
        path = self.base.replace("cloudvolumes", "types")
        found = {kind["name"]: kind["id"] for kind in self.http.get(path).json()["volume_types"]}
        return str(found[name])

    def get(self, query: str = "") -> httpx.Response:
        return self.http.get(f"{self.base}/detail?{query}")

    def ask(self, query: str = "") -> Any:
        answer = self.get(query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def names(self, query: str = "") -> set[str]:
        """Which are listed; their number is told too."""
        found = self.ask(query)
        assert found["count"] == len(found["volumes"])
        return {volume["name"] for volume in found["volumes"]}


@pytest.fixture(scope="module")
def volumes(tcp_evsd: Evsd) -> Iterator[Volumes]:
    made = Volumes(tcp_evsd)
    yield made
    made.http.close()


ALL = {f"disk-{number}" for number in range(5)}


@pytest.mark.parametrize(
    "query",
    [
        "service_type=EVS",
        "multiattach=false",
        "enterprise_project_id=0",
        "enterprise_project_id=all_granted_eps",
        "dedicated_storage_id=",
        "not_metadata=%7B%22parity%22%3A%22neither%22%7D",
        "metadata=%7B%22__system__encrypted%22%3A%221%22%7D",
        "metadata=%7B%7D",
        "marker=",
    ],
)
def test_what_is_true_of_every_volume_may_be_asked_for(volumes: Volumes, query: str) -> None:
    assert volumes.names(query) == ALL


@pytest.mark.parametrize(
    "query",
    [
        "service_type=DSS",
        "service_type=",
        "multiattach=true",
        f"enterprise_project_id={MISSING}",
        f"dedicated_storage_id={MISSING}",
        "dedicated_storage_name=pool",
        f"volume_type_id={MISSING}",
        f"server_id={MISSING}",
        "server_id=",
        "name=",
        "status=downloading",
        "availability_zone=elsewhere",
        f"id={MISSING}",
        "ids=nonsense",
        "metadata=%7B%22__system__encrypted%22%3A%220%22%7D",
        "not_metadata=%7B%22__system__encrypted%22%3A%221%22%7D",
    ],
)
def test_what_is_true_of_no_volume_finds_none(volumes: Volumes, query: str) -> None:
    assert volumes.names(query) == set()


def test_volumes_are_found_by_what_tells_them_apart(volumes: Volumes) -> None:
    odd = json.dumps({"parity": "odd"})
    strange = json.dumps({"parity": "odd", 'a"b.$[0]': "x"})
    for filters, wanted in (
        ({"metadata": odd}, {"disk-1", "disk-3"}),
        ({"metadata": strange}, {"disk-1", "disk-3"}),
        ({"not_metadata": odd}, {"disk-0", "disk-2", "disk-4"}),
        ({"volume_type_id": "SAS"}, {"disk-4"}),
        ({"volume_type_id": volumes.type_id("SAS")}, {"disk-4"}),
        ({"id": volumes.ids["disk-0"], "ids": f"['{volumes.ids['disk-1']}']"}, {"disk-1"}),
        ({"server_id": "host-a"}, {"disk-3"}),
        ({"server_id": "host-a", "metadata": json.dumps({"parity": "even"})}, set()),
        ({"status": "reserved"}, {"disk-3"}),
    ):
        assert volumes.names(str(httpx.QueryParams(filters))) == wanted, filters


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("nmae=disk-1", "EVS.1009"),
        ("all_tenants=1", "EVS.1009"),
        ("name=disk-1&name=disk-2", "EVS.1009"),
        ("id=&id=", "EVS.1009"),
        ("metadata=nonsense", "EVS.1058"),
        ("metadata=%5B%5D", "EVS.1058"),
        ("metadata=%7B%22a%22%3A1%7D", "EVS.1058"),
        (f"metadata={'[' * 4000}", "EVS.1058"),
        ("not_metadata=", "EVS.1058"),
        ("multiattach=perhaps", "EVS.1009"),
        ("sort_key=name", "EVS.1039"),
        ("sort_dir=up", "EVS.1040"),
        (f"ids={MISSING * 61}", "EVS.1009"),
    ],
)
def test_a_filter_that_can_not_be_followed_is_refused(
    volumes: Volumes, query: str, code: str
) -> None:
    answer = volumes.get(query)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)


@pytest.mark.parametrize("marker", [MISSING, "nonsense", "%00", "x" * 1000])
def test_an_unknown_marker_is_refused(volumes: Volumes, marker: str) -> None:
    answer = volumes.get(f"marker={marker}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "EVS.1024")


@pytest.mark.parametrize("sort_key", ["id", "status", "size", "created_at"])
@pytest.mark.parametrize("sort_dir", ["asc", "desc"])
@pytest.mark.parametrize("filters", ["", "&metadata=%7B%22__system__encrypted%22%3A%221%22%7D"])
def test_markers_lead_through_the_whole_list_in_its_order(
    volumes: Volumes, sort_key: str, sort_dir: str, filters: str
) -> None:
    order = f"sort_key={sort_key}&sort_dir={sort_dir}{filters}"
    whole = [volume["id"] for volume in volumes.ask(order)["volumes"]]
    found: list[str] = []
    while page := volumes.ask(f"{order}&limit=2&marker={found[-1] if found else ''}")["volumes"]:
        found += [volume["id"] for volume in page]
    assert found == whole


def test_the_next_page_is_linked_until_there_is_none(volumes: Volumes) -> None:
    page = volumes.ask("limit=2&offset=1&service_type=EVS")
    found = [volume["id"] for volume in page["volumes"]]
    while page["volumes_links"]:
        (link,) = page["volumes_links"]
        assert link["rel"] == "next"
        page = volumes.http.get(link["href"]).json()
        found += [volume["id"] for volume in page["volumes"]]
    assert found == [volume["id"] for volume in volumes.ask("offset=1")["volumes"]]


def test_tags_are_told_of_a_project_and_of_a_volume(
    volumes: Volumes, make_client: MakeClient
) -> None:
    sdk: Any = make_client(evs.EvsClient)
    of_project = sdk.list_volume_tags(evs.ListVolumeTagsRequest()).tags
    assert of_project == {"number": ["0", "1", "2", "3", "4"], "odd": ["yes"]}
    request = evs.ShowVolumeTagsRequest(volume_id=volumes.ids["disk-1"])
    tags = sdk.show_volume_tags(request).tags
    assert [(tag.key, tag.value) for tag in tags] == [("number", "1"), ("odd", "yes")]


def by_tags(volumes: Volumes, **body: Any) -> Any:
    answer = volumes.http.post(f"{volumes.base}/resource_instances/action", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_volumes_are_found_by_their_tags(volumes: Volumes) -> None:
    for tags, wanted in (
        ([], ALL),
        ([{"key": "odd", "values": []}], {"disk-1", "disk-3"}),
        ([{"key": "number", "values": ["0", "3"]}], {"disk-0", "disk-3"}),
        ([{"key": "odd"}, {"key": "number", "values": ["0", "3"]}], {"disk-3"}),
        ([{"key": "none"}], set()),
    ):
        found = by_tags(volumes, action="filter", tags=tags)
        assert {one["resource_name"] for one in found["resources"]} == wanted
        assert found["total_count"] == len(wanted)
        assert by_tags(volumes, action="count", tags=tags) == {
            "total_count": len(wanted),
            "resources": [],
        }
    named = [{"key": "resource_name", "value": "disk-2"}]
    found = by_tags(volumes, action="filter", tags=[], matches=named)
    assert [one["resource_detail"]["id"] for one in found["resources"]] == [volumes.ids["disk-2"]]


def test_attachments_are_filtered_or_the_filter_is_refused(volumes: Volumes) -> None:
    path = volumes.base.replace("/v2/", "/v3/").replace("cloudvolumes", "attachments")
    for query, count in (
        ("", 1),
        (f"volume_id={volumes.ids['disk-3']}", 1),
        (f"volume_id={volumes.ids['disk-1']}", 0),
        ("instance_id=host-a&status=reserved", 1),
        ("instance_id=host-b", 0),
        ("status=attached", 0),
        ("limit=1&offset=1", 0),
        ("all_tenants=1", 1),  # a project's own, as Cinder answers who is no administrator
    ):
        for list_path in (path, f"{path}/detail"):
            found = volumes.http.get(f"{list_path}?{query}").json()["attachments"]
            assert len(found) == count, query
    for query in ("volumeid=x", "volume_id=a&volume_id=b"):
        assert volumes.http.get(f"{path}?{query}").status_code == 400


def test_the_user_of_a_volume_is_told_by_its_id(volumes: Volumes, tcp_evsd: Evsd) -> None:
    users = {user["name"]: user["id"] for user in tcp_evsd.object("user", "list")["users"]}
    assert {volume["user_id"] for volume in volumes.ask()["volumes"]} == {users["root"]}
