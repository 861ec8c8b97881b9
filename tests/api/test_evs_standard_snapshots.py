"""Snapshots, their groups and chains on the published paths of EVS v5, by the cloud's own SDK."""

from __future__ import annotations

from typing import Any

import huaweicloudsdkevs.v2 as evs
import pytest

from tests.api.conftest import MakeClient
from tests.support.daemon import Evsd, until
from tests.support.evs import create, refusal
from tests.support.nbd import works
from tests.support.transfer import attached

MISSING = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def sdk(make_client: MakeClient) -> Any:
    return make_client(evs.EvsClient)


def ended(sdk: Any, job_id: str) -> Any:
    """The job, when it has ended."""
    request = evs.ShowJobRequest(job_id=job_id)
    until(lambda: sdk.show_job(request).status != "RUNNING")
    return sdk.show_job(request)


def creation(volume_id: str, **fields: Any) -> evs.CreateStandardSnapshotRequest:
    wanted = evs.CreateStandardSnapshot(volume_id=volume_id, **fields)
    body = evs.CreateStandardSnapshotRequestBody(snapshot=wanted)
    return evs.CreateStandardSnapshotRequest(body=body)


def take(sdk: Any, volume_id: str, **fields: Any) -> str:
    made = sdk.create_standard_snapshot(creation(volume_id, **fields))
    assert ended(sdk, made.job_id).status == "SUCCESS"
    return str(made.snapshot_id)


def show(sdk: Any, snapshot_id: str) -> Any:
    request = evs.ShowStandardSnapshotRequest(snapshot_id=snapshot_id)
    return sdk.show_standard_snapshot(request).snapshot


def listed(sdk: Any, **filters: Any) -> set[str]:
    answer = sdk.list_snapshots_details(evs.ListSnapshotsDetailsRequest(**filters))
    count = {name: value for name, value in filters.items() if name in COUNTED}
    if count == filters:
        assert sdk.count_snapshots(evs.CountSnapshotsRequest(**count)).count == len(
            answer.snapshots
        )
    return {snapshot.id for snapshot in answer.snapshots}


COUNTED = {"volume_id", "name", "status", "id", "tag_key", "tags", "snapshot_chain_id"}


def rollback(snapshot_id: str, volume_id: str) -> evs.RollbackStandardSnapshotRequest:
    wanted = evs.RollbackSnapshotRequestBodyNew(volume_id=volume_id)
    body = evs.RollbackSnapshotRequestBodyV5(rollback=wanted)
    return evs.RollbackStandardSnapshotRequest(snapshot_id=snapshot_id, body=body)


def group_creation(*volume_ids: str, **fields: Any) -> evs.CreateSnapshotGroupRequest:
    wanted = evs.SnapshotGroup(volume_ids=list(volume_ids), **fields)
    body = evs.CreateSnapshotGroupRequestBody(snapshot_group=wanted)
    return evs.CreateSnapshotGroupRequest(body=body)


def test_a_snapshot_shows_its_key_and_its_chain(sdk: Any, tcp_evsd: Evsd) -> None:
    key = tcp_evsd.object("key", "show", "test-key")["key_info"]["key_id"]
    volume_id = create(sdk, "shown", metadata={"__system__cmkid": key})
    first = take(sdk, volume_id)
    snapshot_id = take(sdk, volume_id, name="monday", description="before", tags={"of": "me"})
    found = show(sdk, snapshot_id)
    assert (found.name, found.description, found.tags) == ("monday", "before", {"of": "me"})
    assert (found.volume_id, found.size, found.status) == (volume_id, 1, "available")
    assert (found.encrypted, found.cmk_id, found.snapshot_type) == (True, key, "user")
    assert (found.progress, found.availability_zone) == ("100%", "local")
    [chain] = found.snapshot_chains
    assert (chain.id, chain.volume_id, chain.snapshot_count) == (volume_id, volume_id, 2)
    assert listed(sdk, snapshot_chain_id=chain.id) == {first, snapshot_id}
    chains = sdk.list_snapshot_chains(evs.ListSnapshotChainsRequest(volume_id=volume_id))
    assert [one.snapshot_count for one in chains.snapshot_chains] == [2]
    count = evs.CountSnapshotChainsRequest(volume_id=volume_id)
    assert sdk.count_snapshot_chains(count).count == 1


def test_a_job_tells_of_its_snapshot(sdk: Any, tcp_evsd: Evsd) -> None:
    volume_id = create(sdk, "told")
    made = sdk.create_standard_snapshot(creation(volume_id, name="of-job"))
    with tcp_evsd.http() as http:
        for version in ("v1", "v2"):
            path = f"/{version}/{tcp_evsd.project_id()}/jobs/{made.job_id}"
            job = http.get(path).json()
            assert job["entities"]["snapshot_id"] == made.snapshot_id
            assert (job["entities"]["name"], job["job_type"]) == ("of-job", "createSnapshot")


def test_an_attached_volume_is_snapshotted_rolled_back_and_forgets_it(
    sdk: Any, tcp_evsd: Evsd
) -> None:
    volume_id = create(sdk, "used")
    with attached(tcp_evsd, "used") as uri:
        works(uri, "write -P 1 0 1M")
        snapshot_id = take(sdk, volume_id)
        works(uri, "write -P 2 0 4k")
        assert refusal(sdk.rollback_standard_snapshot, rollback(snapshot_id, volume_id)) == (
            400,
            "EVS.2043",
        )
    answer = sdk.rollback_standard_snapshot(rollback(snapshot_id, volume_id))
    assert ended(sdk, answer.job_id).status == "SUCCESS"
    with attached(tcp_evsd, "used") as uri:
        works(uri, "read -P 1 0 1M")
    request = evs.DeleteStandardSnapshotRequest(snapshot_id=snapshot_id)
    assert ended(sdk, sdk.delete_standard_snapshot(request).job_id).status == "SUCCESS"
    assert refusal(sdk.delete_standard_snapshot, request) == (404, "EVS.5404")
    with attached(tcp_evsd, "used") as uri:
        works(uri, "read -P 1 0 1M")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"volume_id": MISSING}, (404, "EVS.5404")),
        ({"name": "n" * 65}, (400, "EVS.1003")),
        ({"description": "d" * 86}, (400, "EVS.1004")),
        ({"retention_days": 3}, (400, "EVS.1009")),
        ({"tags": {"": "x"}}, (400, "EVS.1062")),
    ],
)
def test_what_can_not_be_a_snapshot_is_refused(
    sdk: Any, fields: dict[str, Any], expected: tuple[int, str]
) -> None:
    found = sdk.list_volumes(evs.ListVolumesRequest(name="refused")).volumes
    volume_id = found[0].id if found else create(sdk, "refused")
    request = creation(**{"volume_id": volume_id, **fields})
    assert refusal(sdk.create_standard_snapshot, request) == expected
    assert listed(sdk, volume_id=volume_id) == set()


def test_a_snapshot_is_renamed(sdk: Any) -> None:
    snapshot_id = take(sdk, create(sdk, "renamed"))
    wanted = evs.CinderUpdateSnapshotOptionV5(name="other", instant_access=False)
    body = evs.UpdateSnapshotRequestBodyV5(snapshot=wanted)
    request = evs.UpdateStandardSnapshotRequest(snapshot_id=snapshot_id, body=body)
    assert sdk.update_standard_snapshot(request).snapshot.name == "other"
    assert show(sdk, snapshot_id).name == "other"
    request.snapshot_id = MISSING
    assert refusal(sdk.update_standard_snapshot, request) == (404, "EVS.5404")


def test_snapshots_are_found_by_their_tags(sdk: Any) -> None:
    volume_id = create(sdk, "tagged")
    one = take(sdk, volume_id, tags={"stage": "test", "of": "me"})
    other = take(sdk, volume_id, tags={"stage": "live"})
    assert listed(sdk, tag_key="stage", volume_id=volume_id) == {one, other}
    assert listed(sdk, tags='[{"key":"stage","value":"live"}]', volume_id=volume_id) == {other}
    tags = evs.BatchCreateSnapshotTagsRequest(
        snapshot_id=one, body={"tags": [{"key": "stage", "value": "live"}]}
    )
    sdk.batch_create_snapshot_tags(tags)
    assert listed(sdk, tags='[{"key":"stage","value":"live"}]') == {one, other}
    gone = evs.BatchDeleteSnapshotTagsRequest(snapshot_id=one, body={"tags": [{"key": "of"}]})
    sdk.batch_delete_snapshot_tags(gone)
    assert show(sdk, one).tags == {"stage": "live"}
    answer = sdk.list_snapshot_tags(evs.ListSnapshotTagsRequest())
    found = {tag.key: tag.value for tag in answer.tags}
    assert found["stage"] == ["live"]
    many = evs.BatchCreateSnapshotTagsRequest(
        snapshot_id=one, body={"tags": [{"key": f"k{n}", "value": ""} for n in range(11)]}
    )
    assert refusal(sdk.batch_create_snapshot_tags, many) == (400, "EVS.1061")


def test_snapshots_of_several_volumes_are_a_group(sdk: Any, tcp_evsd: Evsd) -> None:
    volumes = [create(sdk, f"grouped-{number}") for number in range(3)]
    with attached(tcp_evsd, "grouped-1") as uri:
        works(uri, "write -P 1 0 4k")
        made = sdk.create_snapshot_group(
            group_creation(*volumes, name="night", description="all", tags={"of": "me"})
        )
        assert ended(sdk, made.job_id).status == "SUCCESS"
    group_id = made.snapshot_group_id
    shown = evs.ShowSnapshotGroupRequest(snapshot_group_id=group_id)
    group = sdk.show_snapshot_group(shown).snapshot_group
    assert (group.name, group.description, group.status) == ("night", "all", "available")
    assert group.tags == {"of": "me"}
    members = listed(sdk, snapshot_group_id=group_id)
    assert {show(sdk, one).volume_id for one in members} == set(volumes)
    for filters in (
        {"name": "night"},
        {"tag_key": "of"},
        {"id": group_id},
        {"status": "available"},
    ):
        found = sdk.list_snapshot_group(evs.ListSnapshotGroupRequest(**filters)).snapshot_groups
        assert group_id in {one.id for one in found}
        assert sdk.count_snapshots_group(evs.CountSnapshotsGroupRequest(**filters)).count == len(
            found
        )
    sdk.delete_snapshot_group(evs.DeleteSnapshotGroupRequest(snapshot_group_id=group_id))
    assert refusal(sdk.show_snapshot_group, shown) == (404, "EVS.5404")
    assert not members & listed(sdk)


def test_where_one_volume_of_a_group_is_refused_there_is_no_group(sdk: Any) -> None:
    volume_id = create(sdk, "alone")
    assert refusal(sdk.create_snapshot_group, group_creation(volume_id, MISSING)) == (
        404,
        "EVS.5404",
    )
    assert listed(sdk, volume_id=volume_id) == set()
    assert refusal(sdk.create_snapshot_group, group_creation()) == (400, "EVS.1009")
