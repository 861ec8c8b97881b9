"""The published EVS operations, by the cloud's own SDK over signed HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkevs.v2 import (
    CreateVolumeOption,
    CreateVolumeRequest,
    CreateVolumeRequestBody,
    DeleteVolumeRequest,
    EvsClient,
    ListVolumesRequest,
    OsExtend,
    ResizeVolumeRequest,
    ResizeVolumeRequestBody,
    ShowJobRequest,
    ShowVolumeRequest,
    UpdateVolumeOption,
    UpdateVolumeRequest,
    UpdateVolumeRequestBody,
)

from tests.api.conftest import MakeClient
from tests.support.daemon import Evsd, until
from tests.support.evs import create, refusal, show
from tests.support.filling import FILLING_SLOWLY, under_way

BEFORE = FILLING_SLOWLY  # it is met while it fills a volume


@pytest.fixture(scope="module")
def sdk(make_client: MakeClient) -> Any:
    return make_client(EvsClient)


def test_a_volume_is_created_under_the_key_that_was_asked_for(sdk: Any, tcp_evsd: Evsd) -> None:
    key_id = tcp_evsd.object("key", "show", "test-key")["key_info"]["key_id"]
    metadata = {"__system__encrypted": "1", "__system__cmkid": key_id}
    volume = show(sdk, create(sdk, "asked", metadata=metadata))
    assert (volume.name, volume.size, volume.status) == ("asked", 1, "available")
    assert volume.metadata["__system__encrypted"] == "1"
    assert volume.metadata["__system__cmkid"] == key_id
    assert volume.multiattach is False


def test_without_encryption_fields_the_default_key_is_used(sdk: Any, tcp_evsd: Evsd) -> None:
    volume = show(sdk, create(sdk, "default"))
    default = tcp_evsd.object("key", "show", "evs/default")["key_info"]
    assert volume.metadata["__system__cmkid"] == default["key_id"]


def test_a_plain_volume_is_refused(sdk: Any) -> None:
    option = CreateVolumeOption(
        name="plain",
        size=1,
        volume_type="SSD",
        availability_zone="local",
        metadata={"__system__encrypted": "0"},
    )
    request = CreateVolumeRequest(body=CreateVolumeRequestBody(volume=option))
    assert refusal(sdk.create_volume, request) == (400, "EVS.2041")


def test_volumes_are_listed_in_pages(sdk: Any) -> None:
    made = {create(sdk, f"page-{number}") for number in range(3)}
    first = sdk.list_volumes(ListVolumesRequest(limit=2, offset=0))
    rest = sdk.list_volumes(ListVolumesRequest(limit=1000, offset=2))
    assert len(first.volumes) == 2
    found = {volume.id for volume in (*first.volumes, *rest.volumes)}
    assert made <= found
    assert len(found) == first.count == rest.count


def test_a_deleted_volume_is_gone(sdk: Any) -> None:
    volume_id = create(sdk, "gone")
    deleted = sdk.delete_volume(DeleteVolumeRequest(volume_id=volume_id))
    assert sdk.show_job(ShowJobRequest(job_id=deleted.job_id)).status == "SUCCESS"
    assert refusal(sdk.show_volume, ShowVolumeRequest(volume_id=volume_id)) == (404, "EVS.5404")


def test_an_unknown_job_is_refused(sdk: Any) -> None:
    assert refusal(sdk.show_job, ShowJobRequest(job_id="0" * 32)) == (400, "Common.0011")


def extend(sdk: Any, volume_id: str, size: int) -> Any:
    body = ResizeVolumeRequestBody(os_extend=OsExtend(new_size=size))
    return sdk.resize_volume(ResizeVolumeRequest(volume_id=volume_id, body=body))


def test_a_volume_is_extended(sdk: Any) -> None:
    volume_id = create(sdk, "grows")
    job = sdk.show_job(ShowJobRequest(job_id=extend(sdk, volume_id, 3).job_id))
    assert (job.status, job.job_type, job.entities.size) == ("SUCCESS", "extendVolume", 3)
    assert show(sdk, volume_id).size == 3


def test_a_volume_does_not_shrink(sdk: Any) -> None:
    volume_id = create(sdk, "shrinks")
    with pytest.raises(ClientRequestException) as caught:
        extend(sdk, volume_id, 1)
    assert (caught.value.status_code, caught.value.error_code) == (400, "EVS.1015")


def test_a_thick_volume_is_created_while_its_job_runs(sdk: Any, tcp_evsd: Evsd) -> None:
    option = CreateVolumeOption(
        name="thick",
        size=3,
        volume_type="SSD",
        availability_zone="local",
        metadata={"evsd:provisioning": "thick"},
    )
    made = sdk.create_volume(CreateVolumeRequest(body=CreateVolumeRequestBody(volume=option)))
    request = ShowJobRequest(job_id=made.job_id)
    with under_way(tcp_evsd, made.job_id):
        job = sdk.show_job(request)
        assert job.status == "RUNNING"
        volume_id = job.entities.volume_id
        assert show(sdk, volume_id).status == "creating"
    until(lambda: sdk.show_job(request).status != "RUNNING")
    assert sdk.show_job(request).status == "SUCCESS"
    volume = show(sdk, volume_id)
    assert (volume.status, volume.metadata["evsd:provisioning"]) == ("available", "thick")
    sdk.delete_volume(DeleteVolumeRequest(volume_id=volume_id))


def test_metadata_of_evsds_own_is_not_taken_from_whoever_creates_a_volume(sdk: Any) -> None:
    """As when it was copied from a volume that is attached."""
    copied = {"evsd:provisioning": "thin", "evsd:server": "running", "mine": "1"}
    metadata = show(sdk, create(sdk, "copied", metadata=copied)).metadata
    assert "evsd:server" not in metadata
    assert metadata["mine"] == "1"


def update(sdk: Any, volume_id: str, **changes: Any) -> Any:
    body = UpdateVolumeRequestBody(volume=UpdateVolumeOption(**changes))
    return sdk.update_volume(UpdateVolumeRequest(volume_id=volume_id, body=body))


def test_name_and_description_are_changed(sdk: Any) -> None:
    volume_id = create(sdk, "before")
    changed = update(sdk, volume_id, name="after")
    assert (changed.name, changed.description) == ("after", "")
    update(sdk, volume_id, description="what it is for")
    volume = show(sdk, volume_id)
    assert (volume.name, volume.description) == ("after", "what it is for")


def test_a_name_that_is_taken_is_not_given_twice(sdk: Any) -> None:
    create(sdk, "first")
    second = create(sdk, "second")
    with pytest.raises(ClientRequestException) as caught:
        update(sdk, second, name="first")
    assert (caught.value.status_code, caught.value.error_code) == (400, "EVS.1003")


def test_an_update_of_nothing_is_refused(sdk: Any) -> None:
    volume_id = create(sdk, "unchanged")
    with pytest.raises(ClientRequestException) as caught:
        update(sdk, volume_id)
    assert (caught.value.status_code, caught.value.error_code) == (400, "EVS.1007")


def test_cinder_extends_too(sdk: Any, tcp_evsd: Evsd) -> None:
    volume_id = create(sdk, "by-cinder")
    with tcp_evsd.http() as http:
        path = f"/v3/{tcp_evsd.project_id()}/volumes/{volume_id}/action"
        done = http.post(path, json={"os-extend": {"new_size": 2}})
        refused = http.post(path, json={"os-extend": {"new_size": 2}})
    assert (done.status_code, done.content) == (202, b"")
    assert (refused.status_code, refused.json()["badRequest"]["error_code"]) == (400, "EVS.1015")
    assert show(sdk, volume_id).size == 2
