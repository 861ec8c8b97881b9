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
    ShowJobRequest,
    ShowVolumeRequest,
)

from tests.api.conftest import MakeClient
from tests.support.daemon import Evsd


@pytest.fixture(scope="module")
def sdk(make_client: MakeClient) -> Any:
    return make_client(EvsClient)


def create(sdk: Any, name: str, **fields: Any) -> str:
    """Make a volume and wait for its job; returns its id."""
    option = CreateVolumeOption(
        name=name, size=1, volume_type="SSD", availability_zone="az1", **fields
    )
    made = sdk.create_volume(CreateVolumeRequest(body=CreateVolumeRequestBody(volume=option)))
    job = sdk.show_job(ShowJobRequest(job_id=made.job_id))
    assert (job.status, job.job_type, job.entities.name) == ("SUCCESS", "createVolume", name)
    return str(job.entities.volume_id)


def show(sdk: Any, volume_id: str) -> Any:
    return sdk.show_volume(ShowVolumeRequest(volume_id=volume_id)).volume


def refusal(call: Any, request: Any) -> tuple[int, str]:
    with pytest.raises(ClientRequestException) as caught:
        call(request)
    return caught.value.status_code, caught.value.error_code


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
        availability_zone="az1",
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
