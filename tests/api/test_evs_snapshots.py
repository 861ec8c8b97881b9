"""Snapshots on the published paths of EVS v2, by the cloud's own SDK over signed HTTP."""

from __future__ import annotations

from typing import Any

import huaweicloudsdkevs.v2 as evs
import pytest

from tests.api.conftest import MakeClient
from tests.support.daemon import Evsd, until
from tests.support.evs import create, refusal
from tests.support.evs import creation as volume_creation
from tests.support.evs import show as show_volume
from tests.support.nbd import works
from tests.support.snapshots import changes, creation, files_of, remove, rollback, show, take
from tests.support.transfer import attached

MISSING = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def sdk(make_client: MakeClient) -> Any:
    return make_client(evs.EvsClient)


def dependents(evsd: Evsd, key_id: str) -> set[str]:
    """The ids of what hangs on a key."""
    with evsd.http() as http:
        path = f"/v1.0/{evsd.project_id()}/kms/list-key-dependents"
        answer = http.post(path, json={"key_id": key_id}).json()
    return {thing["id"] for thing in answer["dependents"]}


def test_a_snapshot_shows_what_its_volume_was(sdk: Any, tcp_evsd: Evsd) -> None:
    volume_id = create(sdk, "shown", size=2)
    made = sdk.create_snapshot(
        creation(volume_id, name="monday", description="before", metadata={"of": "me"})
    ).snapshot
    found = show(sdk, made.id)
    assert (found.id, found.name, found.description) == (made.id, "monday", "before")
    assert (found.volume_id, found.size, found.status) == (volume_id, 2, "available")
    assert found.metadata == {"of": "me"}
    assert found.os_extended_snapshot_attributesproject_id == tcp_evsd.project_id()
    assert found.os_extended_snapshot_attributesprogress == "100%"


def test_a_volume_is_rolled_back_to_its_old_bytes(sdk: Any, tcp_evsd: Evsd) -> None:
    volume_id = create(sdk, "back")
    with attached(tcp_evsd, "back") as uri:
        works(uri, "write -P 1 0 1M", "write -P 2 512M 4k")
    snapshot_id = take(sdk, volume_id)
    with attached(tcp_evsd, "back") as uri:
        works(uri, "read -P 1 0 1M", "write -P 3 4k 4k", "write -P 4 700M 4k", "discard 512M 4k")
    answer = sdk.rollback_snapshot(rollback(snapshot_id, volume_id, "back"))
    assert answer.rollback.volume_id == volume_id
    assert show_volume(sdk, volume_id).status == show(sdk, snapshot_id).status == "available"
    with attached(tcp_evsd, "back") as uri:
        works(uri, "read -P 1 0 1M", "read -P 2 512M 4k", "read -P 0 700M 4k", "write -P 5 0 4k")
    sdk.rollback_snapshot(rollback(snapshot_id, volume_id))  # as often as one likes
    with attached(tcp_evsd, "back") as uri:
        works(uri, "read -P 1 0 1M")


def test_an_attached_volume_has_a_snapshot_taken_with_force_only(sdk: Any, tcp_evsd: Evsd) -> None:
    volume_id = create(sdk, "used")
    with attached(tcp_evsd, "used") as uri:
        works(uri, "write -P 1 0 64k")
        assert refusal(sdk.create_snapshot, creation(volume_id)) == (400, "EVS.2043")
        snapshot_id = take(sdk, volume_id, force=True)
        works(uri, "read -P 1 0 64k", "write -P 2 4k 4k", "read -P 2 4k 4k")
        assert refusal(sdk.rollback_snapshot, rollback(snapshot_id, volume_id)) == (
            400,
            "EVS.2043",
        )
    sdk.rollback_snapshot(rollback(snapshot_id, volume_id))
    with attached(tcp_evsd, "used") as uri:
        works(uri, "read -P 1 0 64k")


def test_a_snapshot_in_the_middle_is_deleted_and_the_others_stay(sdk: Any, tcp_evsd: Evsd) -> None:
    volume_id, snapshots = create(sdk, "chain"), []
    for number in (1, 2, 3):
        with attached(tcp_evsd, "chain") as uri:
            works(uri, f"write -P {number} 0 4k", f"write -P {number} {number}M 4k")
        snapshots.append(take(sdk, volume_id, name=f"chain-{number}"))
    remove(sdk, snapshots[1])
    assert refusal(sdk.show_snapshot, evs.ShowSnapshotRequest(snapshot_id=snapshots[1])) == (
        404,
        "EVS.5404",
    )
    until(lambda: len(files_of(tcp_evsd, volume_id)) == 3)
    with attached(tcp_evsd, "chain") as uri:
        works(uri, "read -P 3 0 4k", "read -P 1 1M 4k", "read -P 2 2M 4k", "read -P 3 3M 4k")
    sdk.rollback_snapshot(rollback(snapshots[0], volume_id))
    with attached(tcp_evsd, "chain") as uri:
        works(uri, "read -P 1 0 4k", "read -P 1 1M 4k", "read -P 0 2M 4k", "read -P 0 3M 4k")
    sdk.rollback_snapshot(rollback(snapshots[2], volume_id))
    with attached(tcp_evsd, "chain") as uri:
        works(uri, "read -P 3 0 4k", "read -P 2 2M 4k", "read -P 3 3M 4k")


def test_a_snapshot_of_an_attached_volume_is_deleted_and_its_layer_goes_when_it_is_detached(
    sdk: Any, tcp_evsd: Evsd
) -> None:
    volume_id = create(sdk, "held")
    snapshot_id = take(sdk, volume_id)
    with attached(tcp_evsd, "held") as uri:
        works(uri, "write -P 1 0 4k")
        remove(sdk, snapshot_id)
        works(uri, "read -P 1 0 4k")
        assert len(files_of(tcp_evsd, volume_id)) == 2
    until(lambda: len(files_of(tcp_evsd, volume_id)) == 1)
    with attached(tcp_evsd, "held") as uri:
        works(uri, "read -P 1 0 4k")


def test_a_volume_is_deleted_with_its_snapshots(sdk: Any, tcp_evsd: Evsd) -> None:
    volume_id = create(sdk, "whole")
    snapshots = [take(sdk, volume_id) for _ in range(3)]
    remove(sdk, snapshots[1])
    sdk.delete_volume(evs.DeleteVolumeRequest(volume_id=volume_id))
    assert sdk.list_snapshots(evs.ListSnapshotsRequest(volume_id=volume_id)).count == 0
    assert files_of(tcp_evsd, volume_id) == []
    key = tcp_evsd.object("key", "show", "evs/default")["key_info"]["key_id"]
    left = dependents(tcp_evsd, key)
    assert not {volume_id, *snapshots} & left


def test_a_snapshot_hangs_on_its_volumes_key(sdk: Any, tcp_evsd: Evsd) -> None:
    snapshot_id = take(sdk, create(sdk, "hangs"), name="hanging")
    key = tcp_evsd.object("key", "show", "evs/default")["key_info"]["key_id"]
    assert snapshot_id in dependents(tcp_evsd, key)
    remove(sdk, snapshot_id)
    assert snapshot_id not in dependents(tcp_evsd, key)


def test_a_volume_that_was_extended_stays_larger_when_it_is_rolled_back(
    sdk: Any, tcp_evsd: Evsd
) -> None:
    volume_id = create(sdk, "grows")
    snapshot_id = take(sdk, volume_id)
    body = evs.ResizeVolumeRequestBody(os_extend=evs.OsExtend(new_size=2))
    sdk.resize_volume(evs.ResizeVolumeRequest(volume_id=volume_id, body=body))
    with attached(tcp_evsd, "grows") as uri:
        works(uri, "write -P 1 1500M 4k")
    sdk.rollback_snapshot(rollback(snapshot_id, volume_id))
    assert show_volume(sdk, volume_id).size == 2
    assert show(sdk, snapshot_id).size == 1
    with attached(tcp_evsd, "grows") as uri:
        works(uri, "read -P 0 1500M 4k", "write -P 2 2047M 1M", "read -P 2 2047M 1M")


def test_a_snapshot_is_renamed_and_described(sdk: Any) -> None:
    snapshot_id = take(sdk, create(sdk, "renamed"))
    assert show(sdk, snapshot_id).name == f"snapshot-{snapshot_id[:8]}"
    update = changes(snapshot_id, name="other", description="as it was")
    assert sdk.update_snapshot(update).snapshot.name == "other"
    found = show(sdk, snapshot_id)
    assert (found.name, found.description) == ("other", "as it was")
    assert refusal(sdk.update_snapshot, changes(snapshot_id)) == (400, "EVS.1007")
    assert refusal(sdk.update_snapshot, changes(snapshot_id, name=" x")) == (400, "EVS.1003")
    assert refusal(sdk.update_snapshot, changes(MISSING, name="x")) == (404, "EVS.5404")


def test_snapshots_are_listed_by_every_filter_in_pages(sdk: Any, tcp_evsd: Evsd) -> None:
    one, other = create(sdk, "listed"), create(sdk, "elsewhere")
    made = [take(sdk, one, name=f"page-{number}") for number in range(3)]
    take(sdk, other, name="page-0")
    listed = sdk.list_snapshots(evs.ListSnapshotsRequest(volume_id=one, limit=2))
    assert (listed.count, [found.id for found in listed.snapshots]) == (3, made[:0:-1])
    assert f"marker={made[1]}" in listed.snapshots_links[0].href
    rest = sdk.list_snapshots(evs.ListSnapshotsRequest(volume_id=one, limit=2, offset=2))
    assert ([found.id for found in rest.snapshots], rest.snapshots_links) == (made[:1], [])

    def found(**filters: Any) -> set[str]:
        answer = sdk.list_snapshots(evs.ListSnapshotsRequest(**filters))
        assert answer.count == len(answer.snapshots)
        return {snapshot.id for snapshot in answer.snapshots}

    assert found(name="page-0", volume_id=one) == {made[0]}
    assert found(id=made[1]) == {made[1]}
    assert found(status="available", volume_id=one) == set(made)
    assert found(status="error") == set()
    assert found(availability_zone="elsewhere") == set()
    assert found(availability_zone="local", service_type="EVS", volume_id=one) == set(made)
    assert found(enterprise_project_id="1") == set()
    with tcp_evsd.http() as http:
        path = f"/v2/{tcp_evsd.project_id()}/cloudsnapshots/detail"
        after = http.get(path, params={"volume_id": one, "marker": made[1]}).json()
        assert [snapshot["id"] for snapshot in after["snapshots"]] == made[:1]
        unknown = http.get(path, params={"marker": MISSING})
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (400, "EVS.1024")
        assert http.get(path, params={"colour": "red"}).status_code == 400


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"volume_id": MISSING}, (404, "EVS.5404")),
        ({"volume_id": "x" * 65}, (400, "EVS.1002")),
        ({"name": "n" * 256}, (400, "EVS.1003")),
        ({"description": "d" * 256}, (400, "EVS.1004")),
    ],
)
def test_what_can_not_be_a_snapshot_is_refused(
    sdk: Any, fields: dict[str, Any], expected: tuple[int, str]
) -> None:
    found = sdk.list_volumes(evs.ListVolumesRequest(name="refused")).volumes
    volume_id = found[0].id if found else create(sdk, "refused")
    request = creation(**{"volume_id": volume_id, **fields})
    assert refusal(sdk.create_snapshot, request) == expected
    assert sdk.list_snapshots(evs.ListSnapshotsRequest(volume_id=volume_id)).count == 0


def test_what_is_no_snapshots_id_is_refused(sdk: Any) -> None:
    request = evs.ShowSnapshotRequest(snapshot_id="monday")
    assert refusal(sdk.show_snapshot, request) == (400, "EVS.2045")
    missing = evs.DeleteSnapshotRequest(snapshot_id=MISSING)
    assert refusal(sdk.delete_snapshot, missing) == (404, "EVS.5404")


def test_a_volume_is_rolled_back_to_its_own_snapshots_only(sdk: Any) -> None:
    snapshot_id = take(sdk, create(sdk, "own"))
    other = create(sdk, "another")
    assert refusal(sdk.rollback_snapshot, rollback(snapshot_id, other)) == (400, "EVS.1009")
    assert refusal(sdk.rollback_snapshot, rollback(MISSING, other)) == (404, "EVS.5404")


def test_a_volume_has_as_many_snapshots_as_there_can_be_layers(sdk: Any) -> None:
    volume_id = create(sdk, "many")
    made = [take(sdk, volume_id) for _ in range(15)]
    assert refusal(sdk.create_snapshot, creation(volume_id)) == (413, "EVS.5413")
    remove(sdk, made[7])
    take(sdk, volume_id)
    sdk.delete_volume(evs.DeleteVolumeRequest(volume_id=volume_id))


def test_a_quota_counts_snapshots(sdk: Any, tcp_evsd: Evsd) -> None:
    volume_id = create(sdk, "limited")
    there = sdk.list_snapshots(evs.ListSnapshotsRequest()).count
    tcp_evsd.ok("quota", "set", "--snapshots", str(there + 1))
    try:
        snapshot_id = take(sdk, volume_id)
        assert refusal(sdk.create_snapshot, creation(volume_id)) == (413, "EVS.5413")
        project = tcp_evsd.project_id()
        usage = evs.CinderListQuotasRequest(target_project_id=project, usage="True")
        quota = sdk.cinder_list_quotas(usage).quota_set
        assert (quota.snapshots.in_use, quota.snapshots.limit) == (there + 1, there + 1)
        assert quota.snapshots_ssd.in_use == there + 1
        remove(sdk, snapshot_id)
        take(sdk, volume_id)
    finally:
        tcp_evsd.ok("quota", "set", "--snapshots", "unlimited")


def test_what_needs_no_key_goes_on_while_the_key_is_disabled(sdk: Any, tcp_evsd: Evsd) -> None:
    tcp_evsd.ok("key", "create", "locked")
    key = tcp_evsd.object("key", "show", "locked")["key_info"]["key_id"]
    volume_id = create(sdk, "locked", metadata={"__system__cmkid": key})
    with attached(tcp_evsd, "locked") as uri:
        works(uri, "write -P 1 0 4k")
    first = take(sdk, volume_id)
    with attached(tcp_evsd, "locked") as uri:
        works(uri, "write -P 2 0 4k")
    tcp_evsd.ok("key", "disable", "locked", "--yes")
    second = take(sdk, volume_id)
    sdk.rollback_snapshot(rollback(first, volume_id))
    remove(sdk, second)
    refused = tcp_evsd.ctl("attach", "locked", "--transport", "uri")
    assert (refused.status, "EVS.2040" in refused.err) == (1, True)
    assert "evsctl key enable" in refused.err
    tcp_evsd.ok("key", "enable", "locked")
    with attached(tcp_evsd, "locked") as uri:
        works(uri, "read -P 1 0 4k")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"metadata": {"__system__encrypted": "1"}}, (400, "EVS.1043")),
        ({"metadata": {"__system__cmkid": MISSING}}, (400, "EVS.1043")),
        ({"image_ref": MISSING}, (400, "EVS.1016")),
        ({"count": 2}, (400, "EVS.1021")),
        ({"size": 1}, (400, "EVS.1010")),
        ({"volume_type": "SAS"}, (400, "EVS.2096")),
        ({"availability_zone": "elsewhere"}, (400, "EVS.1036")),
        ({"metadata": {"evsd:provisioning": "thick"}}, (400, "EVS.1009")),
        ({"snapshot_id": MISSING}, (404, "EVS.5404")),
    ],
)
def test_what_a_volume_of_a_snapshot_can_not_be_is_refused(
    sdk: Any, fields: dict[str, Any], expected: tuple[int, str]
) -> None:
    found = sdk.list_snapshots(evs.ListSnapshotsRequest(name="source")).snapshots
    snapshot_id = found[0].id if found else take(sdk, create(sdk, "source", size=2), name="source")
    request = volume_creation("cloned", **{"size": 2, "snapshot_id": snapshot_id, **fields})
    assert refusal(sdk.create_volume, request) == expected
    assert sdk.list_volumes(evs.ListVolumesRequest(name="cloned")).volumes == []


def test_a_volume_of_a_snapshot_has_its_data_and_its_key_and_a_data_key_of_its_own(
    sdk: Any, tcp_evsd: Evsd
) -> None:
    key = tcp_evsd.object("key", "show", "test-key")["key_info"]["key_id"]
    volume_id = create(sdk, "origin", metadata={"__system__cmkid": key}, volume_type="SAS")
    with attached(tcp_evsd, "origin") as uri:
        works(uri, "write -P 1 0 64k")
    snapshot_id = take(sdk, volume_id)
    made = create(sdk, "copy", size=2, snapshot_id=snapshot_id, volume_type="SAS")
    shown = show_volume(sdk, made)
    assert (shown.snapshot_id, shown.size, shown.volume_type) == (snapshot_id, 2, "SAS")
    assert shown.metadata["__system__cmkid"] == key
    assert tcp_evsd.data_key("copy") != tcp_evsd.data_key("origin")
    with attached(tcp_evsd, "copy") as uri, attached(tcp_evsd, "origin") as other:
        works(uri, "read -P 1 0 64k", "read -P 0 1G 64k", "write -P 2 4k 4k", "write -P 3 2047M 4k")
        works(other, "read -P 1 0 64k", "write -P 4 0 64k")
        works(uri, "read -P 1 0 4k", "read -P 2 4k 4k", "read -P 1 8k 56k", "read -P 3 2047M 4k")


def test_a_volume_of_a_snapshot_lives_on_when_that_and_its_volume_are_gone(
    sdk: Any, tcp_evsd: Evsd
) -> None:
    volume_id = create(sdk, "mother")
    with attached(tcp_evsd, "mother") as uri:
        works(uri, "write -P 1 0 64k")
    snapshot_id = take(sdk, volume_id)
    create(sdk, "child", snapshot_id=snapshot_id)
    remove(sdk, snapshot_id)
    sdk.delete_volume(evs.DeleteVolumeRequest(volume_id=volume_id))
    with attached(tcp_evsd, "child") as uri:
        works(uri, "read -P 1 0 64k", "write -P 2 0 4k")
    child = sdk.list_volumes(evs.ListVolumesRequest(name="child")).volumes[0]
    grandchild = create(sdk, "grandchild", snapshot_id=take(sdk, child.id))
    with attached(tcp_evsd, "grandchild") as uri:
        works(uri, "read -P 2 0 4k", "read -P 1 4k 60k")
    assert len(files_of(tcp_evsd, volume_id)) == 1
    for one in (child.id, grandchild):
        sdk.delete_volume(evs.DeleteVolumeRequest(volume_id=one))
    until(lambda: files_of(tcp_evsd, volume_id) == files_of(tcp_evsd, child.id) == [])


def test_a_volume_of_a_snapshot_whose_key_is_disabled_is_refused(sdk: Any, tcp_evsd: Evsd) -> None:
    tcp_evsd.ok("key", "create", "shut")
    key = tcp_evsd.object("key", "show", "shut")["key_info"]["key_id"]
    snapshot_id = take(sdk, create(sdk, "shut", metadata={"__system__cmkid": key}))
    tcp_evsd.ok("key", "disable", "shut", "--yes")
    request = volume_creation("opened", snapshot_id=snapshot_id)
    assert refusal(sdk.create_volume, request) == (400, "EVS.2040")
    tcp_evsd.ok("key", "enable", "shut")
    create(sdk, "opened", snapshot_id=snapshot_id)
