"""Volumes on Cinder's own paths, which EVS publishes beside its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.cinder import Cinder
from tests.support.daemon import Evsd

MISSING = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module", params=["v2", "v3"])
def cinder(request: pytest.FixtureRequest, shared_evsd: Evsd) -> Iterator[Cinder]:
    made = Cinder(shared_evsd, request.param)
    yield made
    for volume in made.ask("GET", "/volumes").json()["volumes"]:
        made.ask("DELETE", f"/volumes/{volume['id']}")
    made.http.close()


def test_a_volume_is_created_shown_and_deleted(cinder: Cinder) -> None:
    made = cinder.create("made", description="for a test", metadata={"mine": "1"})
    assert (made["status"], made["size"], made["encrypted"]) == ("available", 1, True)
    path = f"/volumes/{made['id']}"
    shown = cinder.ask("GET", path).json()["volume"]
    assert (shown["name"], shown["description"]) == ("made", "for a test")
    assert shown["metadata"]["mine"] == "1"
    assert cinder.ask("DELETE", f"{path}?cascade=False&force=False").status_code == 202
    assert cinder.refused("GET", path) == (404, "itemNotFound", "EVS.5404")


def test_what_can_not_be_created_is_refused_in_cinders_words(cinder: Cinder) -> None:
    cinder.create("twin")
    for volume, code in (
        ({"name": "twin", "size": 1}, "EVS.1003"),
        ({"name": "plain", "size": 1, "metadata": {"__system__encrypted": "0"}}, "EVS.2041"),
        ({"name": "elsewhere", "size": 1, "availability_zone": "nova"}, "EVS.1036"),
        ({"name": "several", "size": 1, "count": 2}, "EVS.1009"),
    ):
        refused = cinder.refused("POST", "/volumes", {"volume": volume})
        assert refused == (400, "badRequest", code)


def test_a_volume_is_looked_for_by_name_and_then_listed(cinder: Cinder) -> None:
    """The way of OpenStack's clients."""
    made = cinder.create("looked-for")
    assert cinder.refused("GET", "/volumes/looked-for") == (404, "itemNotFound", "EVS.5404")
    found = cinder.ask("GET", "/volumes/detail?name=looked-for&all_tenants=0").json()["volumes"]
    assert [volume["id"] for volume in found] == [made["id"]]


def test_name_and_description_are_changed(cinder: Cinder) -> None:
    path = f"/volumes/{cinder.create('before')['id']}"
    changed = cinder.ask("PUT", path, {"volume": {"name": "after", "description": "new"}})
    assert changed.json()["volume"]["name"] == "after"
    shown = cinder.ask("GET", path).json()["volume"]
    assert (shown["name"], shown["description"]) == ("after", "new")
    cinder.create("other")
    refused = cinder.refused("PUT", path, {"volume": {"name": "other"}})
    assert refused == (400, "badRequest", "EVS.1003")
    assert cinder.refused("PUT", path, {"volume": {}})[2] == "EVS.1007"
    missing = cinder.refused("PUT", f"/volumes/{MISSING}", {"volume": {"name": "x"}})
    assert missing == (404, "itemNotFound", "EVS.5404")


def test_lists_are_filtered_sorted_and_come_in_pages(cinder: Cinder) -> None:
    for number in range(4):
        kind, parity = ("SAS" if number == 3 else "SSD"), ("odd" if number % 2 else "even")
        cinder.create(f"list-{number}", volume_type=kind, metadata={"parity": parity})
    ids = {kind["name"]: kind["id"] for kind in cinder.ask("GET", "/types").json()["volume_types"]}
    assert cinder.names("name=list-2") == ["list-2"]
    assert cinder.names("metadata={'parity':'odd'}&sort=created_at:asc") == ["list-1", "list-3"]
    assert cinder.names('metadata={"parity":"odd"}&sort_key=created_at&sort_dir=asc') == [
        "list-1",
        "list-3",
    ]
    assert cinder.names(f"volume_type_id={ids['SAS']}&name=list-3") == ["list-3"]
    assert cinder.names("bootable=true") == cinder.names("status=in-use") == []
    page = cinder.ask("GET", "/volumes/detail?sort=created_at&limit=2&with_count=true").json()
    assert [volume["name"] for volume in page["volumes"]] == ["list-3", "list-2"]
    assert page["count"] == len(cinder.names())
    [link] = page["volumes_links"]
    following = cinder.http.get(link["href"]).json()
    assert [volume["name"] for volume in following["volumes"]] == ["list-1", "list-0"]
    marker = page["volumes"][0]["id"]
    assert cinder.names(f"marker={marker}&limit=1") == ["list-2"]
    brief = cinder.ask("GET", "/volumes?name=list-0").json()
    assert set(brief) == {"volumes"}
    assert set(brief["volumes"][0]) == {"id", "name", "links"}


@pytest.mark.parametrize(
    "query",
    ["all_tenants=x", "nmae=x", "sort=name:asc", "sort=id:up", "metadata=[]", "name=a&name=b"],
)
def test_a_filter_that_can_not_be_followed_is_refused(cinder: Cinder, query: str) -> None:
    for path in ("/volumes", "/volumes/detail"):
        assert cinder.refused("GET", f"{path}?{query}")[:2] == (400, "badRequest")


def test_who_asks_for_all_projects_gets_its_own(cinder: Cinder) -> None:
    """As of Cinder's: its clients ask so for everything that is to be found by its name."""
    made = cinder.create("of-all")
    found = cinder.ask("GET", "/volumes/detail?all_tenants=1&name=of-all").json()["volumes"]
    assert [volume["id"] for volume in found] == [made["id"]]
    domain_id = cinder.http.get("/v3/projects").json()["projects"][0]["domain_id"]
    wanted = {"name": f"of-{made['id']}", "parent_id": domain_id}
    other = cinder.http.post("/v3/projects", json={"project": wanted})
    elsewhere = f"{cinder.base[:4]}{other.json()['project']['id']}"
    listed = cinder.http.get(f"{elsewhere}/volumes/detail?all_tenants=1").json()
    assert listed["volumes"] == []


def test_metadata_is_added_changed_and_removed(cinder: Cinder) -> None:
    made = cinder.create("described", metadata={"a": "1"})
    path, own = f"/volumes/{made['id']}/metadata", made["metadata"].keys() - {"a"}
    assert cinder.ask("POST", path, {"metadata": {"b": "2"}}).json()["metadata"]["a"] == "1"
    assert cinder.ask("GET", f"{path}/b").json() == {"meta": {"b": "2"}}
    assert cinder.ask("PUT", f"{path}/b", {"meta": {"b": "3"}}).json() == {"meta": {"b": "3"}}
    whole = cinder.ask("PUT", path, {"metadata": {"c": "4"}}).json()["metadata"]
    assert whole.keys() == {"c", *own}
    assert cinder.ask("GET", path).json()["metadata"] == whole
    assert cinder.ask("DELETE", f"{path}/c").status_code == 200
    assert cinder.refused("DELETE", f"{path}/c") == (404, "itemNotFound", "EVS.5404")
    assert cinder.refused("GET", f"{path}/c") == (404, "itemNotFound", "EVS.5404")
    assert cinder.refused("PUT", f"{path}/d", {"meta": {"e": "5"}})[0] == 400


def test_what_metadata_tells_of_the_key_can_not_be_changed(cinder: Cinder) -> None:
    made = cinder.create("fixed")
    path, cmk_id = f"/volumes/{made['id']}/metadata", made["metadata"]["__system__cmkid"]
    for changes in (
        {"__system__cmkid": MISSING},
        {"__system__encrypted": "0"},
        {"evsd:provisioning": "thick"},
        {"evsd:server": "running"},
        {"__system__new": "x"},
    ):
        for method in ("POST", "PUT"):
            refused = cinder.refused(method, path, {"metadata": changes})
            assert refused == (400, "badRequest", "EVS.2047"), changes
    assert cinder.refused("DELETE", f"{path}/__system__cmkid")[2] == "EVS.2047"
    as_shown = {"__system__cmkid": cmk_id, "mine": "1"}
    assert cinder.ask("POST", path, {"metadata": as_shown}).status_code == 200
    assert cinder.ask("GET", path).json()["metadata"] == {**made["metadata"], "mine": "1"}


def test_metadata_does_not_grow_without_bound(cinder: Cinder) -> None:
    path = f"/volumes/{cinder.create('wordy')['id']}/metadata"
    many = {f"key-{number}": "x" * 255 for number in range(300)}
    assert cinder.refused("POST", path, {"metadata": many})[2] == "EVS.1005"
    assert cinder.refused("POST", path, {"metadata": {"k": "x" * 256}})[0] == 400


def test_a_volume_is_extended_and_retyped_by_actions(cinder: Cinder) -> None:
    made = cinder.create("acted-on", volume_type="SAS")
    path = f"/volumes/{made['id']}"
    action: dict[str, Any]
    for action in ({"os-extend": {"new_size": 2}}, {"os-retype": {"new_type": "SSD"}}):
        assert cinder.ask("POST", f"{path}/action", action).status_code == 202
    shown = cinder.ask("GET", path).json()["volume"]
    assert (shown["size"], shown["volume_type"]) == (2, "SSD")
    for action, code in (
        ({"os-extend": {"new_size": 2}}, "EVS.1015"),
        ({"os-retype": {"new_type": "SSD"}}, "EVS.2087"),
        ({"os-force_delete": {}}, "EVS.1009"),
        ({"os-extend": {"new_size": 3}, "os-force_delete": {}}, "EVS.1009"),
        ({"os-extend": {"new_size": 3}, "revert": {"snapshot_id": MISSING}}, "EVS.1009"),
        ({}, "EVS.1009"),
    ):
        refused = cinder.refused("POST", f"{path}/action", action)
        assert refused == (400, "badRequest", code)


def test_a_project_is_summed_up(shared_evsd: Evsd) -> None:
    cinder = Cinder(shared_evsd, "v3")
    cinder.create("summed", size=3, metadata={"kind": "big"})
    told = cinder.ask("GET", "/volumes/summary").json()["volume-summary"]
    volumes = cinder.ask("GET", "/volumes/detail").json()["volumes"]
    assert told["total_count"] == len(volumes)
    assert told["total_size"] == sum(volume["size"] for volume in volumes)
    assert told["metadata"]["kind"] == ["big"]
    assert cinder.ask("GET", "/volumes/summary?all_tenants=True").json() == {"volume-summary": told}
