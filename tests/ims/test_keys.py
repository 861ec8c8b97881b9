"""Images and their keys: whose they are, that they never change, and what a disabled one stops."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import Evsd, Object
from tests.support.images import disk
from tests.support.ims import disks, ended, queued, sent, shown, uploaded
from tests.support.transfer import MIB, attached, identical, image, run


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return disk(tmp_path_factory.mktemp("raw") / "raw")


@pytest.fixture(scope="module")
def image_id(shared_evsd: Evsd, raw: Path) -> str:
    """An active image under `test-key`."""
    return uploaded(shared_evsd, "one", raw, __system__cmkid=key_id(shared_evsd, "test-key"))


def key_id(evsd: Evsd, alias: str) -> str:
    return str(evsd.object("key", "show", alias)["key_info"]["key_id"])


def refusal(evsd: Evsd, method: str, path: str, body: Any) -> tuple[str, str]:
    """Code and text of what must be refused."""
    with evsd.http() as http:
        answer = http.request(method, path.format(project=evsd.project_id()), json=body)
    assert answer.status_code >= 400, answer.text
    error: Object = answer.json()["error"]
    return error["code"], error["message"]


def digest(evsd: Evsd, disk_id: str) -> str:
    """What a disk's header says of its data key."""
    file = evsd.pool / f"{disk_id}.luks"
    metadata = json.loads(run("cryptsetup", "luksDump", "--dump-json-metadata", file))
    return str(metadata["digests"]["0"])


def test_without_a_key_an_image_has_the_default_one_of_images(shared_evsd: Evsd, raw: Path) -> None:
    found = shown(shared_evsd, uploaded(shared_evsd, "by-default", raw))
    assert found["__system__cmkid"] == key_id(shared_evsd, "ims/default")


def test_the_disk_of_an_image_is_a_luks2_file_that_says_which_key(
    shared_evsd: Evsd, image_id: str
) -> None:
    file = shared_evsd.pool / f"{image_id}.luks"
    metadata = json.loads(run("cryptsetup", "luksDump", "--dump-json-metadata", file))
    (token,) = (each for each in metadata["tokens"].values() if each["type"] == "evsd")
    assert token["cmk_id"] == key_id(shared_evsd, "test-key")
    context = {"project_id": shared_evsd.project_id(), "image_id": image_id}
    assert token["encryption_context"] == context


@pytest.mark.usefixtures("image_id")
def test_what_hangs_on_a_key_are_its_images_too(shared_evsd: Evsd) -> None:
    path = f"/v1.0/{shared_evsd.project_id()}/kms/list-key-dependents"
    with shared_evsd.http() as http:
        answer = http.post(path, json={"key_id": key_id(shared_evsd, "test-key")})
    assert '"one"' in answer.text
    assert "image" in answer.text


def test_a_volume_of_an_image_has_its_cmk_and_a_data_key_of_its_own(
    shared_evsd: Evsd, image_id: str, raw: Path
) -> None:
    shared_evsd.ok("create", "of-one", "--from-image", "one", "--size", "2G")
    volume = shared_evsd.object("show", "of-one")["volume"]
    assert volume["metadata"]["__system__cmkid"] == key_id(shared_evsd, "test-key")
    assert volume["size"] == 2
    assert digest(shared_evsd, volume["id"]) != digest(shared_evsd, image_id)
    with attached(shared_evsd, "of-one") as uri:
        assert identical(raw, uri)


@pytest.mark.usefixtures("image_id")
def test_several_volumes_of_an_image_are_made_by_one_request(shared_evsd: Evsd, raw: Path) -> None:
    shared_evsd.ok("create", "some", "--from-image", "one", "--count", "2")
    for name in ("some-0001", "some-0002"):
        with attached(shared_evsd, name) as uri:
            assert identical(raw, uri)


@pytest.mark.usefixtures("image_id")
def test_a_thick_volume_of_an_image_has_its_bytes(shared_evsd: Evsd, raw: Path) -> None:
    shared_evsd.ok("create", "thick", "--from-image", "one", "--thick")
    with attached(shared_evsd, "thick") as uri:
        assert identical(raw, uri)
    shared_evsd.ok("delete", "thick", "--yes")


@pytest.mark.parametrize("field", ["__system__cmkid", "__system__encrypted"])
def test_encryption_fields_are_refused_for_a_volume_of_an_image(
    shared_evsd: Evsd, image_id: str, field: str
) -> None:
    given = {"__system__cmkid": key_id(shared_evsd, "test-key"), "__system__encrypted": "1"}
    wanted = {"name": "v", "size": 1, "imageRef": image_id, "metadata": {field: given[field]}}
    code, text = refusal(shared_evsd, "POST", "/v2.1/{project}/cloudvolumes", {"volume": wanted})
    assert (code, f"{field} can't be given" in text) == ("EVS.1043", True)


def test_a_volume_must_have_room_for_its_image(shared_evsd: Evsd, image_id: str) -> None:
    patch = [{"op": "replace", "path": "/min_disk", "value": 3}]
    with shared_evsd.http() as http:
        assert http.patch(f"/v2/images/{image_id}", json=patch).status_code == 200
    wanted = {"name": "v", "size": 2, "imageRef": image_id}
    code, text = refusal(shared_evsd, "POST", "/v2.1/{project}/cloudvolumes", {"volume": wanted})
    assert (code, text) == ("EVS.2042", "a volume of image one has 3 GiB at least, not 2")
    with shared_evsd.http() as http:
        http.patch(f"/v2/images/{image_id}", json=[{**patch[0], "value": 1}])
    assert (
        refusal(shared_evsd, "PATCH", f"/v2/images/{image_id}", [{**patch[0], "value": 0}])[0]
        == "IMG.0171"
    )


@pytest.mark.usefixtures("image_id")
def test_an_image_of_a_volume_inherits_its_key(shared_evsd: Evsd, raw: Path) -> None:
    shared_evsd.ok("create", "source", "--from-image", "one")
    shared_evsd.ok("image", "create", "of-source", "--from-volume", "source")
    made = shared_evsd.object("image", "show", "of-source")
    volume_id = shared_evsd.object("show", "source")["volume"]["id"]
    assert made["__system__cmkid"] == key_id(shared_evsd, "test-key")
    assert digest(shared_evsd, made["id"]) != digest(shared_evsd, volume_id)
    shared_evsd.ok("delete", "source", "--yes")
    shared_evsd.ok("create", "back", "--from-image", "of-source")
    with attached(shared_evsd, "back") as uri:
        assert identical(raw, uri)


def test_an_attached_volume_does_not_become_an_image(shared_evsd: Evsd) -> None:
    shared_evsd.ok("create", "busy", "--size", "1G")
    with attached(shared_evsd, "busy"):
        refused = shared_evsd.ctl("image", "create", "no", "--from-volume", "busy")
    assert "IMG.0022: volume busy is in-use" in refused.err


def test_a_copy_under_another_key_is_encrypted_anew(
    shared_evsd: Evsd, image_id: str, raw: Path
) -> None:
    shared_evsd.ok("key", "create", "other")
    shared_evsd.ok("image", "copy", "one", "copied", "--key", "other")
    copied = shared_evsd.object("image", "show", "copied")
    assert copied["__system__cmkid"] == key_id(shared_evsd, "other")
    assert digest(shared_evsd, copied["id"]) != digest(shared_evsd, image_id)
    shared_evsd.ok("key", "disable", "test-key", "--yes")
    try:
        shared_evsd.ok("create", "of-copied", "--from-image", "copied")
    finally:
        shared_evsd.ok("key", "enable", "test-key")
    with attached(shared_evsd, "of-copied") as uri:
        assert identical(raw, uri)


@pytest.mark.usefixtures("image_id")
def test_a_copy_under_its_own_key_needs_none_to_be_named(shared_evsd: Evsd) -> None:
    shared_evsd.ok("image", "copy", "one", "same-key")
    found = shared_evsd.object("image", "show", "same-key")
    assert found["__system__cmkid"] == key_id(shared_evsd, "test-key")
    refused = shared_evsd.ctl("image", "copy", "one", "no", "--key", "test-key")
    assert "IMG.0096" in refused.err


def test_the_key_of_an_image_can_not_be_changed(shared_evsd: Evsd, image_id: str) -> None:
    for path in ("/__system__cmkid", "/__system__encrypted"):
        patch = [{"op": "replace", "path": path, "value": "0"}]
        code, text = refusal(shared_evsd, "PATCH", f"/v2/images/{image_id}", patch)
        assert (code, "can't be changed" in text) == ("IMG.0001", True)


def test_nothing_is_made_of_an_image_whose_key_is_disabled(
    shared_evsd: Evsd, image_id: str, raw: Path
) -> None:
    """Each refusal names the key, its state and what helps."""
    project, cmk_id = shared_evsd.project_id(), key_id(shared_evsd, "test-key")
    with shared_evsd.http() as http:
        waiting = queued(http, "waits", __system__cmkid=cmk_id)
    shared_evsd.ok("key", "disable", "test-key", "--yes")
    try:
        wanted = {"volume": {"name": "v", "size": 1, "imageRef": image_id}}
        refused = {
            "EVS.2040": refusal(shared_evsd, "POST", f"/v2.1/{project}/cloudvolumes", wanted),
            "IMG.0102": refusal(
                shared_evsd, "POST", f"/v1/cloudimages/{image_id}/copy", {"name": "c"}
            ),
            "IMG.0097": refusal(
                shared_evsd, "POST", "/v2/images", {"name": "x", "__system__cmkid": cmk_id}
            ),
        }
        with shared_evsd.http() as http:
            late = sent(http, waiting, raw)
            assert late.json()["error"]["code"] == "IMG.0097"
    finally:
        shared_evsd.ok("key", "enable", "test-key")
    for code, (found, text) in refused.items():
        assert found == code
        assert "test-key" in text
        assert "disabled" in text
        assert "evsctl key enable" in text
    assert shown(shared_evsd, waiting)["status"] == "queued"


def test_a_key_that_does_not_exist_is_refused(shared_evsd: Evsd) -> None:
    missing = "00000000-0000-4000-8000-000000000000"
    for wanted in (missing, "no-id"):
        body = {"name": "x", "__system__cmkid": wanted}
        assert refusal(shared_evsd, "POST", "/v2/images", body)[0] == "IMG.0095"


@pytest.mark.usefixtures("image_id")
def test_a_copy_that_fails_leaves_no_image(shared_evsd: Evsd) -> None:
    """Its file was taken away behind evsd's back."""
    shared_evsd.ok("image", "copy", "one", "broken")
    broken = shared_evsd.object("image", "show", "broken")["id"]
    (shared_evsd.pool / f"{broken}.luks").unlink()
    with shared_evsd.http() as http:
        body = {"name": "of-broken"}
        job_id = http.post(f"/v1/cloudimages/{broken}/copy", json=body).json()["job_id"]
    job = ended(shared_evsd, job_id)
    assert (job["status"], job["error_code"]) == ("FAIL", "IMG.0046")
    assert "of-broken" not in shared_evsd.ok("image", "list")


def test_volumes_of_an_image_go_on_when_it_is_deleted(shared_evsd: Evsd, raw: Path) -> None:
    """What they stand on goes with the last of them."""
    image_id = uploaded(shared_evsd, "short-lived", raw)
    for name in ("survivor", "other-one"):
        shared_evsd.ok("create", name, "--from-image", "short-lived")
    shared_evsd.ok("image", "delete", "short-lived", "--yes")
    for name in ("survivor", "other-one"):
        assert image_id in disks(shared_evsd)
        with attached(shared_evsd, name) as uri:
            assert identical(raw, uri)
        shared_evsd.ok("delete", name, "--yes")
    assert image_id not in disks(shared_evsd)


def test_a_volume_of_an_image_takes_no_space_before_it_is_written_to(
    shared_evsd: Evsd, tmp_path: Path
) -> None:
    uploaded(shared_evsd, "large", image(tmp_path / "raw", data_mib=64))
    shared_evsd.ok("create", "of-large", "--from-image", "large")
    assert shared_evsd.pool_file("of-large").stat().st_blocks * 512 < MIB


@pytest.mark.usefixtures("image_id")
def test_what_is_written_to_a_volume_is_not_in_its_image(shared_evsd: Evsd, raw: Path) -> None:
    shared_evsd.ok("create", "written", "--from-image", "one")
    with attached(shared_evsd, "written") as uri:
        run("qemu-io", "-f", "raw", "-c", "write -P 7 1M 64k", uri)
        assert not identical(raw, uri)
    shared_evsd.ok("create", "unwritten", "--from-image", "one")
    with attached(shared_evsd, "unwritten") as uri:
        assert identical(raw, uri)


def test_without_a_delegation_there_are_no_images(evsd: Evsd) -> None:
    code, text = refusal(evsd, "POST", "/v2/images", {"name": "x"})
    assert (code, "evsctl delegation create" in text) == ("IMG.0099", True)
