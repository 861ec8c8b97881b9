"""Snapshots on Cinder's own paths, which EVS publishes beside its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.cinder import Cinder
from tests.support.daemon import Evsd, until
from tests.support.nbd import works
from tests.support.transfer import attached

MISSING = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module", params=["v2", "v3"])
def cinder(request: pytest.FixtureRequest, shared_evsd: Evsd) -> Iterator[Cinder]:
    made = Cinder(shared_evsd, request.param)
    yield made
    for volume in made.ask("GET", "/volumes").json()["volumes"]:
        made.ask("DELETE", f"/volumes/{volume['id']}?cascade=true")
    made.http.close()


def take(cinder: Cinder, volume_id: str, **fields: Any) -> Any:
    """As OpenStack's clients ask for one: nulls for what they don't want."""
    wanted = {"volume_id": volume_id, "name": None, "description": None, "force": False, **fields}
    made = cinder.ask("POST", "/snapshots", {"snapshot": wanted})
    assert made.status_code == 202, made.text
    path = f"/snapshots/{made.json()['snapshot']['id']}"
    until(lambda: cinder.ask("GET", path).json()["snapshot"]["status"] == "available")
    return cinder.ask("GET", path).json()["snapshot"]


def test_a_snapshot_is_taken_shown_renamed_and_deleted(cinder: Cinder) -> None:
    volume = cinder.create("simple")
    made = take(cinder, volume["id"], name="monday", metadata={"mine": "1"})
    assert (made["name"], made["volume_id"], made["size"]) == ("monday", volume["id"], 1)
    assert made["os-extended-snapshot-attributes:progress"] == "100%"
    path = f"/snapshots/{made['id']}"
    changed = cinder.ask("PUT", path, {"snapshot": {"name": "other"}})
    assert changed.json()["snapshot"]["name"] == "other"
    assert cinder.refused("GET", "/snapshots/other") == (404, "itemNotFound", "EVS.5404")
    assert cinder.ask("DELETE", path).status_code == 202
    until(lambda: cinder.ask("GET", path).status_code == 404)


def test_snapshots_are_listed_in_short_and_in_detail(cinder: Cinder) -> None:
    volume = cinder.create("listed")
    made = [take(cinder, volume["id"], name=f"one-{number}")["id"] for number in range(3)]
    query = f"volume_id={volume['id']}"
    short = cinder.ask("GET", f"/snapshots?{query}&limit=2").json()
    assert [one["id"] for one in short["snapshots"]] == made[:0:-1]
    assert "os-extended-snapshot-attributes:progress" not in short["snapshots"][0]
    [link] = short["snapshots_links"]
    rest = cinder.http.get(link["href"]).json()
    assert [one["id"] for one in rest["snapshots"]] == made[:1]
    assert "snapshots_links" not in rest
    detail = cinder.ask("GET", f"/snapshots/detail?{query}&with_count=true&name=one-1").json()
    assert ([one["id"] for one in detail["snapshots"]], detail["count"]) == ([made[1]], 1)
    refused = cinder.refused("GET", "/snapshots/detail?colour=red")
    assert refused == (400, "badRequest", "EVS.1009")


def test_metadata_of_a_snapshot_is_its_users_own(cinder: Cinder) -> None:
    snapshot = take(cinder, cinder.create("described")["id"], metadata={"a": "1"})
    path = f"/snapshots/{snapshot['id']}/metadata"
    assert cinder.ask("GET", path).json() == {"metadata": {"a": "1"}}
    added = cinder.ask("POST", path, {"metadata": {"b": "2"}})
    assert added.json() == {"metadata": {"a": "1", "b": "2"}}
    assert cinder.ask("PUT", f"{path}/b", {"meta": {"b": "3"}}).json() == {"meta": {"b": "3"}}
    assert cinder.ask("GET", f"{path}/b").json() == {"meta": {"b": "3"}}
    assert cinder.ask("DELETE", f"{path}/a").status_code == 200
    assert cinder.refused("DELETE", f"{path}/a") == (404, "itemNotFound", "EVS.5404")
    assert cinder.ask("PUT", path, {"metadata": {"c": "4"}}).json() == {"metadata": {"c": "4"}}
    long = {"metadata": {str(number): "x" * 255 for number in range(300)}}
    assert cinder.refused("POST", path, long) == (400, "badRequest", "EVS.1005")


def test_a_volume_is_reverted(cinder: Cinder, shared_evsd: Evsd) -> None:
    volume = cinder.create("reverted")
    with attached(shared_evsd, volume["id"]) as uri:
        works(uri, "write -P 1 0 4k")
    snapshot = take(cinder, volume["id"])
    vendor = f"/os-vendor-snapshots/{snapshot['id']}/rollback"
    reverts = (
        (f"/volumes/{volume['id']}/action", {"revert": {"snapshot_id": snapshot["id"]}}),
        (vendor, {"rollback": {"volume_id": volume["id"], "name": "reverted"}}),
    )
    for path, body in reverts:
        with attached(shared_evsd, volume["id"]) as uri:
            works(uri, "write -P 2 0 4k")
            assert cinder.refused("POST", path, body) == (400, "badRequest", "EVS.2043")
        assert cinder.ask("POST", path, body).status_code == 202
        with attached(shared_evsd, volume["id"]) as uri:
            works(uri, "read -P 1 0 4k")
    nameless = cinder.refused("POST", vendor, {"rollback": {"name": "reverted"}})
    assert nameless == (400, "badRequest", "EVS.1009")


def test_a_volume_with_snapshots_is_deleted_where_that_is_said(cinder: Cinder) -> None:
    volume = cinder.create("full")
    snapshot = take(cinder, volume["id"])
    path = f"/volumes/{volume['id']}"
    assert cinder.refused("DELETE", path) == (400, "badRequest", "EVS.1046")
    assert cinder.ask("GET", path).json()["volume"]["status"] == "available"
    assert cinder.ask("DELETE", f"{path}?cascade=true").status_code == 202
    gone = cinder.refused("GET", f"/snapshots/{snapshot['id']}")
    assert gone == (404, "itemNotFound", "EVS.5404")


def test_what_is_no_snapshot_is_refused_in_cinders_words(cinder: Cinder) -> None:
    body = {"snapshot": {"volume_id": MISSING}}
    assert cinder.refused("POST", "/snapshots", body) == (404, "itemNotFound", "EVS.5404")
    assert cinder.refused("DELETE", f"/snapshots/{MISSING}") == (404, "itemNotFound", "EVS.5404")
