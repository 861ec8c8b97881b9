"""Images by the cloud's own SDK for IMS, unmodified: each operation, done and refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import huaweicloudsdkims.v2 as ims
import pytest

from evsd import signature
from tests.api.conftest import MakeClient
from tests.support.daemon import Evsd, until
from tests.support.evs import refusal
from tests.support.identity import code
from tests.support.images import disk
from tests.support.ims import queued, shown, uploaded

MISSING = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def sdk(make_client: MakeClient) -> Any:
    return make_client(ims.ImsClient)


@pytest.fixture(scope="module")
def image_id(tcp_evsd: Evsd, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An active image, of a file that was sent in Glance's way."""
    raw = disk(tmp_path_factory.mktemp("raw") / "raw")
    key = tcp_evsd.object("key", "show", "test-key")["key_info"]["key_id"]
    return uploaded(tcp_evsd, "of-file", raw, tags=["first"], __system__cmkid=key)


@pytest.fixture(scope="module")
def volume_id(tcp_evsd: Evsd, image_id: str) -> str:
    tcp_evsd.ok("create", "disk", "--from-image", image_id)
    return str(tcp_evsd.object("show", "disk")["volume"]["id"])


def done(sdk: Any, made: Any) -> Any:
    """A job of IMS, when it has ended well."""
    request = ims.ShowJobRequest(job_id=made.job_id)
    until(lambda: sdk.show_job(request).status != "RUNNING")
    job = sdk.show_job(request)
    assert (job.status, job.error_code) == ("SUCCESS", None)
    progress = sdk.show_job_progress(ims.ShowJobProgressRequest(job_id=made.job_id))
    assert (progress.entities.image_id, progress.entities.process_percent) == (
        job.entities.image_id,
        100.0,
    )
    return job


def show(sdk: Any, image_id: str) -> Any:
    return sdk.glance_show_image(ims.GlanceShowImageRequest(image_id=image_id))


def test_an_image_is_made_of_a_volume(sdk: Any, volume_id: str, image_id: str) -> None:
    body = ims.CreateImageRequestBody(
        name="of-volume", volume_id=volume_id, os_version="Debian", tags=["a=b"]
    )
    job = done(sdk, sdk.create_image(ims.CreateImageRequest(body=body)))
    assert (job.job_type, job.entities.image_name) == ("imsVolumeCreateImageJob", "of-volume")
    made = show(sdk, job.entities.image_id)
    assert (made.status, made.min_disk, made.tags) == ("active", 1, ["a=b"])
    assert made.system__cmkid == show(sdk, image_id).system__cmkid


def test_an_image_is_made_of_a_data_volume(sdk: Any, volume_id: str) -> None:
    one = ims.CreateDataImage(name="of-data", volume_id=volume_id)
    body = ims.CreateImageRequestBody(data_images=[one])
    job = done(sdk, sdk.create_image_in_safe_mode(ims.CreateImageInSafeModeRequest(body=body)))
    assert job.entities.image_name == "of-data"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"name": "x", "instance_id": "server"}, (400, "IMG.0005")),
        ({"name": "x", "image_url": "bucket:object"}, (400, "IMG.0121")),
        ({"name": "x", "volume_id": MISSING}, (404, "EVS.5404")),
        ({"name": "x", "volume_id": MISSING, "cmk_id": MISSING}, (400, "IMG.0001")),
        ({"volume_id": MISSING}, (400, "IMG.0001")),
        ({"name": "x"}, (400, "IMG.0001")),
        ({"name": " x", "volume_id": MISSING}, (400, "IMG.0003")),
        ({"name": "x", "volume_id": MISSING, "min_disk": -1}, (400, "IMG.0171")),
    ],
)
def test_what_no_image_can_be_made_of_is_refused(
    sdk: Any, fields: dict[str, Any], expected: tuple[int, str]
) -> None:
    request = ims.CreateImageRequest(body=ims.CreateImageRequestBody(**fields))
    assert refusal(sdk.create_image, request) == expected


def test_images_of_objects_are_refused(sdk: Any, image_id: str) -> None:
    url = "bucket:object"
    data = ims.CreateDataImageRequestBody(name="x", image_url=url, min_disk=40)
    quick = ims.QuickImportImageByFileRequestBody(
        name="x", image_url=url, min_disk=40, os_version="Debian"
    )
    registered = ims.RegisterImageRequestBody(image_url=url)
    asked: list[tuple[Callable[[Any], object], Any]] = [
        (sdk.create_data_image, ims.CreateDataImageRequest(body=data)),
        (sdk.import_image_quick, ims.ImportImageQuickRequest(body=quick)),
        (sdk.register_image, ims.RegisterImageRequest(image_id=image_id, body=registered)),
    ]
    for call, request in asked:
        assert refusal(call, request) == (400, "IMG.0121")


def test_an_image_is_copied_under_another_key(sdk: Any, tcp_evsd: Evsd, image_id: str) -> None:
    tcp_evsd.ok("key", "create", "other")
    other = tcp_evsd.object("key", "show", "other")["key_info"]["key_id"]
    body = ims.CopyImageInRegionRequestBody(name="copied", cmk_id=other)
    request = ims.CopyImageInRegionRequest(image_id=image_id, body=body)
    job = done(sdk, sdk.copy_image_in_region(request))
    assert job.job_type == "imsCopyImageInRegionJob"
    assert show(sdk, job.entities.image_id).system__cmkid == other
    assert refusal(sdk.copy_image_in_region, request) == (400, "IMG.0009")


@pytest.mark.parametrize(
    ("key", "expected"), [(MISSING, (400, "IMG.0095")), ("short", (400, "IMG.0095"))]
)
def test_a_copy_under_a_key_that_is_none_is_refused(
    sdk: Any, image_id: str, key: str, expected: tuple[int, str]
) -> None:
    body = ims.CopyImageInRegionRequestBody(name="no", cmk_id=key)
    request = ims.CopyImageInRegionRequest(image_id=image_id, body=body)
    assert refusal(sdk.copy_image_in_region, request) == expected


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"name": "of-file"}, True),
        ({"name": "other"}, False),
        ({"status": "active", "imagetype": "private"}, True),
        ({"imagetype": "gold"}, False),
        ({"tag": "first"}, True),
        ({"tag": "second"}, False),
        ({"protected": False}, True),
        ({"protected": True}, False),
        ({"min_disk": 1, "visibility": "private"}, True),
        ({"min_disk": 2}, False),
        ({"disk_format": "raw", "isregistered": "true"}, True),
        ({"disk_format": "qcow2"}, False),
        ({"created_at": "gt:2020-01-01T00:00:00Z"}, True),
        ({"created_at": "lt:2020-01-01T00:00:00Z"}, False),
        ({"os_type": "Linux"}, False),
        ({"support_kvm": "true"}, True),
        ({"owner": MISSING}, False),
    ],
)
def test_no_filter_of_a_list_is_ignored(
    sdk: Any, image_id: str, filters: dict[str, Any], found: bool
) -> None:
    listed = sdk.list_images(ims.ListImagesRequest(**filters)).images
    assert (image_id in [image.id for image in listed]) == found


def test_a_list_has_pages(sdk: Any, tcp_evsd: Evsd) -> None:
    for name in ("page-a", "page-b", "page-c"):
        with tcp_evsd.http() as http:
            http.post("/v2/images", json={"name": name})
    order = {"sort_key": "name", "sort_dir": "asc", "status": "queued"}
    first = sdk.list_images(ims.ListImagesRequest(limit=2, **order))
    marker = first.page_info.next_marker
    rest = sdk.list_images(ims.ListImagesRequest(limit=2, marker=marker, **order))
    assert [i.name for i in (*first.images, *rest.images)] == ["page-a", "page-b", "page-c"]
    assert rest.page_info.next_marker is None
    for wrong in ({"limit": 2000}, {"sort_key": "colour"}, {"marker": MISSING}):
        assert refusal(sdk.list_images, ims.ListImagesRequest(**wrong)) == (400, "IMG.0001")


def test_glance_lists_what_ims_does(sdk: Any, image_id: str) -> None:
    found = sdk.glance_list_images(ims.GlanceListImagesRequest(name="of-file")).images
    assert [image.id for image in found] == [image_id]
    request = ims.GlanceListImagesRequest(created_at="yesterday")
    assert refusal(sdk.glance_list_images, request) == (400, "IMG.0001")


def test_an_image_that_waits_for_data_is_made_changed_and_deleted(sdk: Any) -> None:
    body = ims.GlanceCreateImageMetadataRequestBody(
        name="waits", disk_format="qcow2", container_format="bare", min_disk=2, os_version="Debian"
    )
    made = sdk.glance_create_image_metadata(ims.GlanceCreateImageMetadataRequest(body=body))
    assert (made.status, made.os_version, made.visibility) == ("queued", "Debian", "private")
    changes = [
        ims.GlanceUpdateImageRequestBody(op="replace", path="/name", value="still-waits"),
        ims.GlanceUpdateImageRequestBody(op="add", path="/colour", value="blue"),
    ]
    request = ims.GlanceUpdateImageRequest(image_id=made.id, body=changes)
    assert sdk.glance_update_image(request).name == "still-waits"
    change = ims.UpdateImageRequestBody(op="replace", path="/__description", value="new")
    sdk.update_image(ims.UpdateImageRequest(image_id=made.id, body=[change]))
    assert show(sdk, made.id).description == "new"
    sdk.glance_delete_image(ims.GlanceDeleteImageRequest(image_id=made.id))
    request = ims.GlanceShowImageRequest(image_id=made.id)
    assert refusal(sdk.glance_show_image, request) == (404, "IMG.0027")


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("/status", "active", (403, "IMG.0001")),
        ("/__system__cmkid", MISSING, (400, "IMG.0001")),
        ("/visibility", "public", (400, "IMG.0098")),
        ("/name", " ", (400, "IMG.0003")),
        ("/name", "waiting", (400, "IMG.0009")),
        ("colour", "blue", (400, "IMG.0001")),
    ],
)
def test_a_change_that_is_not_allowed_is_refused(
    sdk: Any, tcp_evsd: Evsd, image_id: str, path: str, value: str, expected: tuple[int, str]
) -> None:
    with tcp_evsd.http() as http:
        http.post("/v2/images", json={"name": "waiting"})
    change = ims.GlanceUpdateImageRequestBody(op="replace", path=path, value=value)
    request = ims.GlanceUpdateImageRequest(image_id=image_id, body=[change])
    assert refusal(sdk.glance_update_image, request) == expected


def test_tags_are_added_and_taken_away(sdk: Any, image_id: str) -> None:
    sdk.glance_create_tag(ims.GlanceCreateTagRequest(image_id=image_id, tag="new"))
    assert show(sdk, image_id).tags == ["first", "new"]
    request = ims.GlanceDeleteTagRequest(image_id=image_id, tag="new")
    sdk.glance_delete_tag(request)
    assert refusal(sdk.glance_delete_tag, request) == (404, "IMG.0027")


def test_tags_have_keys_and_values(sdk: Any, image_id: str) -> None:
    def tags() -> dict[str, str]:
        found = sdk.list_image_tags(ims.ListImageTagsRequest(image_id=image_id)).tags
        return {tag.key: tag.value for tag in found}

    before, use = tags(), ims.ResourceTag(key="use", value="web")
    body = ims.AddImageTagRequestBody(tag=use)
    sdk.add_image_tag(ims.AddImageTagRequest(image_id=image_id, body=body))
    assert tags() == {**before, "use": "web"}
    assert "use=web" in show(sdk, image_id).tags
    assert "use=web" in sdk.list_tags(ims.ListTagsRequest()).tags
    listed = sdk.list_images_tags(ims.ListImagesTagsRequest()).tags
    assert ("use", ["web"]) in [(tag.key, tag._values) for tag in listed]
    one = ims.AddOrUpdateTagsRequestBody(image_id=image_id, tag="use=db")
    sdk.create_or_update_tags(ims.CreateOrUpdateTagsRequest(body=one))
    assert tags()["use"] == "db"
    several = ims.BatchAddOrDeleteTagsRequestBody(action="delete", tags=[use])
    request = ims.BatchAddOrDeleteTagsRequest(image_id=image_id, body=several)
    sdk.batch_add_or_delete_tags(request)
    assert tags() == before
    assert refusal(sdk.batch_add_or_delete_tags, request) == (404, "IMG.0027")
    gone = ims.DeleteImageTagRequest(image_id=image_id, key="use")
    assert refusal(sdk.delete_image_tag, gone) == (404, "IMG.0027")
    wrong = ims.AddImageTagRequestBody(tag=ims.ResourceTag(key="a=b", value="c"))
    request = ims.AddImageTagRequest(image_id=image_id, body=wrong)
    assert refusal(sdk.add_image_tag, request) == (400, "IMG.0001")
    neither = ims.AddOrUpdateTagsRequestBody(image_id=image_id)
    request = ims.CreateOrUpdateTagsRequest(body=neither)
    assert refusal(sdk.create_or_update_tags, request) == (400, "IMG.0001")


def test_a_protected_image_is_not_deleted(sdk: Any, image_id: str) -> None:
    def protect(value: bool) -> None:
        change = ims.GlanceUpdateImageRequestBody(op="replace", path="/protected", value=value)
        sdk.glance_update_image(ims.GlanceUpdateImageRequest(image_id=image_id, body=[change]))

    protect(True)
    request = ims.GlanceDeleteImageRequest(image_id=image_id)
    assert refusal(sdk.glance_delete_image, request) == (403, "IMG.0028")
    protect(False)


def test_encrypted_images_are_not_shared(sdk: Any, image_id: str) -> None:
    batch = ims.BatchAddMembersRequestBody(images=[image_id], projects=["p"])
    update = ims.BatchUpdateMembersRequestBody(images=[image_id], project_id="p", status="accepted")
    member = ims.GlanceAddImageMemberRequestBody(member="p")
    asked: list[tuple[Callable[[Any], object], Any]] = [
        (sdk.batch_add_members, ims.BatchAddMembersRequest(body=batch)),
        (sdk.batch_delete_members, ims.BatchDeleteMembersRequest(body=batch)),
        (sdk.batch_update_members, ims.BatchUpdateMembersRequest(body=update)),
        (
            sdk.glance_add_image_member,
            ims.GlanceAddImageMemberRequest(image_id=image_id, body=member),
        ),
    ]
    for call, request in asked:
        assert refusal(call, request) == (400, "IMG.0098")
    listed = sdk.glance_list_image_members(ims.GlanceListImageMembersRequest(image_id=image_id))
    assert listed.members == []
    one = ims.GlanceShowImageMemberRequest(image_id=image_id, member_id="p")
    assert refusal(sdk.glance_show_image_member, one) == (404, "IMG.0027")


def test_encrypted_images_are_not_exported(sdk: Any, image_id: str) -> None:
    body = ims.ExportImageRequestBody(bucket_url="bucket:object", file_format="qcow2")
    request = ims.ExportImageRequest(image_id=image_id, body=body)
    assert refusal(sdk.export_image, request) == (400, "IMG.0071")


def test_schemas_and_quota_are_shown(sdk: Any) -> None:
    schema = sdk.glance_show_image_schemas(ims.GlanceShowImageSchemasRequest())
    assert schema.name == "image"
    quota = sdk.show_image_quota(ims.ShowImageQuotaRequest()).quotas.resources[0]
    assert (quota.type, quota.quota) == ("image", -1)
    assert quota.used > 0


def test_a_job_of_nobodys_is_refused(sdk: Any) -> None:
    request = ims.ShowJobProgressRequest(job_id=MISSING)
    assert refusal(sdk.show_job_progress, request) == (404, "IMG.0027")


@pytest.mark.parametrize(
    ("signed", "expected"),
    [
        (b"what is sent", (400, "IMG.0057")),  # which is no image
        (b"something else", (400, "APIGW.0201")),
        (None, (401, "APIGW.0301")),
    ],
)
def test_what_is_uploaded_is_compared_with_the_hash_that_was_signed(
    tcp_evsd: Evsd, credential: dict[str, str], signed: bytes | None, expected: tuple[int, str]
) -> None:
    with tcp_evsd.http() as http:
        image_id = queued(http, f"hash {signed!r}")
    path, host = f"/v2/images/{image_id}/file", tcp_evsd.url().removeprefix("http://")
    headers = {"host": host}
    if signed is not None:
        headers["x-sdk-content-sha256"] = hashlib.sha256(signed).hexdigest()
    body = b"" if signed is None else None
    pair = (credential["access"], credential["secret"])
    headers |= signature.headers_of(*pair, "PUT", path, "", headers, body)
    refused = httpx.put(f"{tcp_evsd.url()}{path}", content=b"what is sent", headers=headers)
    assert (refused.status_code, code(refused)) == expected
    assert shown(tcp_evsd, image_id)["status"] == "queued"


def test_evsctl_uploads_over_tcp(
    tcp_evsd: Evsd, credential: dict[str, str], tmp_path: Path
) -> None:
    raw = disk(tmp_path / "raw")
    environment = {
        "EVSD_ENDPOINT": tcp_evsd.url(),
        "EVSD_ACCESS_KEY": credential["access"],
        "EVSD_SECRET_KEY": credential["secret"],
    }
    words = ("image", "import", str(raw), "signed")
    assert tcp_evsd.ctl(*words, environment=environment).status == 0
    assert tcp_evsd.object("image", "show", "signed")["status"] == "active"
