"""Tags, types, zones, quotas and transfers of EVS, by the cloud's own SDK."""

from __future__ import annotations

from typing import Any

import huaweicloudsdkevs.v2 as evs
import pytest

from evsd.daemon.settings import FileSettings
from tests.api.conftest import MakeClient
from tests.support.daemon import Evsd
from tests.support.evs import create, creation, refusal, show

MISSING = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def sdk(make_client: MakeClient) -> Any:
    return make_client(evs.EvsClient)


# --- tags -----------------------------------------------------------------------------------------


def adding(volume_id: str, tags: dict[str, str]) -> evs.BatchCreateVolumeTagsRequest:
    listed = [evs.Tag(key=key, value=value) for key, value in tags.items()]
    body = evs.BatchCreateVolumeTagsRequestBody(action="create", tags=listed)
    return evs.BatchCreateVolumeTagsRequest(volume_id=volume_id, body=body)


def removing(volume_id: str, *keys: str) -> evs.BatchDeleteVolumeTagsRequest:
    listed = [evs.DeleteTagsOption(key=key) for key in keys]
    body = evs.BatchDeleteVolumeTagsRequestBody(action="delete", tags=listed)
    return evs.BatchDeleteVolumeTagsRequest(volume_id=volume_id, body=body)


def tags_of(sdk: Any, volume_id: str) -> dict[str, str]:
    told = sdk.show_volume_tags(evs.ShowVolumeTagsRequest(volume_id=volume_id)).tags
    return {tag.key: tag.value for tag in told}


def test_tags_are_added_changed_and_removed(sdk: Any) -> None:
    volume_id = create(sdk, "tagged", tags={"stage": "test"})
    sdk.batch_create_volume_tags(adding(volume_id, {"stage": "production", "team": "storage"}))
    assert tags_of(sdk, volume_id) == {"stage": "production", "team": "storage"}
    assert show(sdk, volume_id).tags == {"stage": "production", "team": "storage"}
    sdk.batch_delete_volume_tags(removing(volume_id, "stage"))
    assert tags_of(sdk, volume_id) == {"team": "storage"}
    of_project = sdk.list_volume_tags(evs.ListVolumeTagsRequest()).tags
    assert of_project["team"] == ["storage"]


def test_volumes_are_found_and_counted_by_tags(sdk: Any) -> None:
    wanted = create(sdk, "found", tags={"found": "yes"})
    create(sdk, "lost", tags={"found": "no"})
    tags = [evs.TagsForListVolumes(key="found", values=["yes"])]
    matches = [evs.Match(key="resource_name", value="ound"), evs.Match("service_type", "evs")]
    body = evs.ListVolumesByTagsRequestBody(action="filter", tags=tags, matches=matches)
    found = sdk.list_volumes_by_tags(evs.ListVolumesByTagsRequest(body=body))
    assert [one.resource_id for one in found.resources] == [wanted]
    body = evs.ListVolumesByTagsRequestBody(action="count", tags=tags)
    assert sdk.list_volumes_by_tags(evs.ListVolumesByTagsRequest(body=body)).total_count == 1
    body = evs.ListVolumesByTagsRequestBody(action="guess", tags=tags)
    refused = refusal(sdk.list_volumes_by_tags, evs.ListVolumesByTagsRequest(body=body))
    assert refused == (400, "EVS.1009")


@pytest.mark.parametrize(
    "tags",
    [
        {"": "x"},
        {"k" * 37: "x"},
        {"key": "v" * 44},
        {"a=b": "x"},
        {" key": "x"},
        {"key": "a\nb"},
        {"key": "a|b"},
    ],
)
def test_a_tag_beyond_the_published_limits_is_refused(sdk: Any, tags: dict[str, str]) -> None:
    refused = (400, "EVS.1062")
    assert refusal(sdk.create_volume, creation("badly-tagged", tags=tags)) == refused
    volume_id = create(sdk, f"untagged-{len(str(tags))}-{hash(str(tags))}")
    assert refusal(sdk.batch_create_volume_tags, adding(volume_id, tags)) == refused
    assert tags_of(sdk, volume_id) == {}


def test_a_volume_has_ten_tags_at_most(sdk: Any) -> None:
    ten = {f"key-{number}": str(number) for number in range(10)}
    eleven = {**ten, "one-more": ""}
    assert refusal(sdk.create_volume, creation("eleven", tags=eleven)) == (400, "EVS.1061")
    volume_id = create(sdk, "ten", tags=ten)
    request = adding(volume_id, {"one-more": ""})
    assert refusal(sdk.batch_create_volume_tags, request) == (400, "EVS.1061")
    sdk.batch_create_volume_tags(adding(volume_id, {"key-0": "changed"}))
    assert tags_of(sdk, volume_id) == {**ten, "key-0": "changed"}


def test_a_tag_that_is_not_there_is_not_removed_nor_any_with_it(sdk: Any) -> None:
    volume_id = create(sdk, "partly-tagged", tags={"there": "1"})
    request = removing(volume_id, "there", "missing")
    assert refusal(sdk.batch_delete_volume_tags, request) == (404, "EVS.5404")
    assert tags_of(sdk, volume_id) == {"there": "1"}


def test_tags_of_no_volume_are_refused(sdk: Any) -> None:
    assert refusal(sdk.batch_create_volume_tags, adding(MISSING, {"a": "b"})) == (404, "EVS.5404")
    request = evs.ShowVolumeTagsRequest(volume_id=MISSING)
    assert refusal(sdk.show_volume_tags, request) == (404, "EVS.5404")


def test_one_tag_by_its_key(sdk: Any, tcp_evsd: Evsd) -> None:
    """The older published paths, which the SDK has no more."""
    volume_id = create(sdk, "one-by-one")
    with tcp_evsd.http() as http:
        path = f"/v2/{tcp_evsd.project_id()}/os-vendor-tags/volumes"
        one = f"{path}/{volume_id}/stage"
        assert http.put(one, json={"tag": {"stage": "test"}}).json() == {"tag": {"stage": "test"}}
        assert http.get(one).json() == {"tag": {"stage": "test"}}
        assert http.put(one, json={"tag": {"other": "test"}}).status_code == 400
        http.post(f"{path}/{volume_id}", json={"tags": {"team": "a"}})
        assert http.get(f"{path}/{volume_id}").json() == {"tags": {"stage": "test", "team": "a"}}
        http.put(f"{path}/{volume_id}", json={"tags": {"team": "b"}})
        assert http.get(one).status_code == 404
        assert "b" in http.get(path).json()["tags"]["team"]
        assert http.delete(f"{path}/{volume_id}/team").status_code == 200
        assert http.delete(f"{path}/{volume_id}/team").status_code == 404
    assert tags_of(sdk, volume_id) == {}


def test_evsctl_tags_volumes(tcp_evsd: Evsd) -> None:
    tcp_evsd.ok("create", "by-hand", "--size", "1G", "--tag", "stage=test", "--tag", "bare")
    assert "bare, stage=test" in tcp_evsd.ok("show", "by-hand")
    tcp_evsd.ok("tag", "by-hand", "stage=production", "owner=me")
    tcp_evsd.ok("untag", "by-hand", "bare")
    told = [line.split() for line in tcp_evsd.ok("tags", "by-hand").splitlines()[1:]]
    assert told == [["owner", "me"], ["stage", "production"]]
    assert ["owner", "me"] in [line.split() for line in tcp_evsd.ok("tags").splitlines()]
    refused = tcp_evsd.ctl("untag", "by-hand", "bare")
    assert (refused.status, "EVS.5404" in refused.err) == (1, True)


def test_evsctl_creates_several_volumes(tcp_evsd: Evsd) -> None:
    job = tcp_evsd.object("create", "several", "--size", "1G", "--count", "2")
    parts = job["entities"]["sub_jobs"]
    assert [part["entities"]["name"] for part in parts] == ["several-0001", "several-0002"]
    refused = tcp_evsd.ctl("create", "several", "--size", "1G", "--count", "2")
    assert (refused.status, "several-0001 exists already" in refused.err) == (1, True)


# --- types and zones ------------------------------------------------------------------------------


def test_types_and_the_zone_are_told(sdk: Any, tcp_evsd: Evsd) -> None:
    types = sdk.cinder_list_volume_types(evs.CinderListVolumeTypesRequest()).volume_types
    assert {kind.name for kind in types} >= {"SATA", "SAS", "GPSSD", "SSD", "ESSD"}
    assert {kind.extra_specs.reske_yavailability_zones for kind in types} == {"local"}
    zones = sdk.cinder_list_availability_zones(evs.CinderListAvailabilityZonesRequest())
    [zone] = zones.availability_zone_info
    assert (zone.zone_name, zone.zone_state.available) == ("local", True)
    with tcp_evsd.http() as http:
        for version in ("v2", "v3"):
            path = f"/{version}/{tcp_evsd.project_id()}/types"
            for reference in (types[0].id, types[0].name):
                shown = http.get(f"{path}/{reference}").json()["volume_type"]
                assert (shown["id"], shown["name"]) == (types[0].id, types[0].name)
            specs = http.get(f"{path}/{types[0].id}/extra_specs").json()["extra_specs"]
            assert specs == shown["extra_specs"]
            one = http.get(f"{path}/SSD/extra_specs/availability-zone").json()
            assert one == {"availability-zone": "local"}
            assert http.get(f"{path}/default").json()["volume_type"]["name"] == "SSD"
            missing = http.get(f"{path}/{MISSING}")
            assert (missing.status_code, "itemNotFound" in missing.json()) == (404, True)
            assert http.get(f"{path}?is_public=None").json()["volume_types"]
            assert http.get(f"{path}?is_public=False").json()["volume_types"] == []
            assert http.get(f"{path}?public=1").status_code == 400


def test_another_zone_is_refused(sdk: Any) -> None:
    request = creation("elsewhere", availability_zone="eu-de-01")
    assert refusal(sdk.create_volume, request) == (400, "EVS.1036")


def test_the_zone_has_the_name_that_the_settings_give() -> None:
    assert FileSettings(availability_zone="eu-de-01").availability_zone == "eu-de-01"
    with pytest.raises(ValueError, match="availability_zone"):
        FileSettings(availability_zone="a b")


# --- retyping -------------------------------------------------------------------------------------


def retyping(volume_id: str, kind: str, **more: Any) -> evs.RetypeVolumeRequest:
    body = evs.RetypeVolumeRequestBody(os_retype=evs.RetypeVolume(new_type=kind, **more))
    return evs.RetypeVolumeRequest(volume_id=volume_id, body=body)


def test_a_volume_gets_a_higher_type(sdk: Any) -> None:
    volume_id = create(sdk, "retyped", volume_type="SAS")
    started = sdk.retype_volume(retyping(volume_id, "SSD"))
    job = sdk.show_job(evs.ShowJobRequest(job_id=started.job_id))
    assert (job.status, job.job_type) == ("SUCCESS", "retypeVolume")
    assert job.entities.volume_id == volume_id
    volume = show(sdk, volume_id)
    assert (volume.volume_type, volume.status) == ("SSD", "available")


@pytest.mark.parametrize("kind", ["SAS", "SATA", "TAPE"])
def test_a_type_that_is_not_higher_or_none_is_refused(sdk: Any, kind: str) -> None:
    volume_id = create(sdk, f"not-{kind}", volume_type="SAS")
    assert refusal(sdk.retype_volume, retyping(volume_id, kind)) == (400, "EVS.2087")
    assert show(sdk, volume_id).volume_type == "SAS"


def test_what_a_type_can_not_guarantee_is_refused(sdk: Any) -> None:
    volume_id = create(sdk, "fast")
    request = retyping(volume_id, "ESSD2", iops=5000)
    assert refusal(sdk.retype_volume, request) == (400, "EVS.1009")


# --- transfers ------------------------------------------------------------------------------------


def test_an_encrypted_volume_is_not_transferred(sdk: Any) -> None:
    volume_id = create(sdk, "kept")
    wanted = evs.CreateVolumeTransferOption(name="away", volume_id=volume_id)
    body = evs.CinderCreateVolumeTransferRequestBody(transfer=wanted)
    request = evs.CinderCreateVolumeTransferRequest(body=body)
    status, _ = refusal(sdk.cinder_create_volume_transfer, request)
    assert status == 400
    assert show(sdk, volume_id).status == "available"
    wanted.volume_id = MISSING
    assert refusal(sdk.cinder_create_volume_transfer, request)[0] == 404


def test_there_is_no_transfer_to_show_accept_or_delete(sdk: Any) -> None:
    listed = sdk.cinder_list_volume_transfers(evs.CinderListVolumeTransfersRequest(limit=10))
    assert listed.transfers == []
    show_one = evs.CinderShowVolumeTransferRequest(transfer_id=MISSING)
    delete_one = evs.CinderDeleteVolumeTransferRequest(transfer_id=MISSING)
    acceptance = evs.CinderAcceptVolumeTransferRequestBody(
        accept=evs.CinderAcceptVolumeTransferOption(auth_key="x")
    )
    accept_one = evs.CinderAcceptVolumeTransferRequest(transfer_id=MISSING, body=acceptance)
    assert refusal(sdk.cinder_show_volume_transfer, show_one)[0] == 404
    assert refusal(sdk.cinder_delete_volume_transfer, delete_one)[0] == 404
    assert refusal(sdk.cinder_accept_volume_transfer, accept_one)[0] == 404


# --- quotas ---------------------------------------------------------------------------------------


def test_quotas_are_told_with_what_is_in_use(sdk: Any, tcp_evsd: Evsd) -> None:
    tcp_evsd.ok("quota", "set", "--snapshots", "5", "--gigabytes", "1T")
    project_id = tcp_evsd.project_id()
    request = evs.CinderListQuotasRequest(target_project_id=project_id, usage="True")
    quotas = sdk.cinder_list_quotas(request).quota_set
    listed = sdk.list_volumes(evs.ListVolumesRequest())
    assert (quotas.snapshots.limit, quotas.snapshots.in_use) == (5, 0)
    assert (quotas.gigabytes.limit, quotas.volumes.limit) == (1024, -1)
    assert quotas.volumes.in_use == listed.count
    assert quotas.gigabytes.in_use == sum(volume.size for volume in listed.volumes)
    foreign = evs.CinderListQuotasRequest(target_project_id="0" * 32, usage="True")
    assert refusal(sdk.cinder_list_quotas, foreign) == (403, "EVS.0003")
    with tcp_evsd.http() as http:
        path = f"/v3/{project_id}/os-quota-sets/{project_id}"
        assert http.delete(path).status_code == 200
        assert http.get(path).json()["quota_set"]["snapshots"] == -1


def test_a_change_of_quotas_is_on_record(tcp_evsd: Evsd) -> None:
    tcp_evsd.ok("quota", "set", "--volumes", "900")
    [record] = tcp_evsd.object("audit", "list", "--action", "update-quota", "--limit", "1")[
        "records"
    ]
    assert record["result"] == "ok"
    assert record["context"] == {"of_project": tcp_evsd.project_id(), "volumes": "900"}
    tcp_evsd.ok("quota", "set", "--volumes", "unlimited")
