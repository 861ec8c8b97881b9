"""Images by glanceclient and openstackclient, unmodified."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.images import disk, made
from tests.support.openstack import Account
from tests.support.transfer import attached, identical


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return disk(tmp_path_factory.mktemp("raw") / "raw")


@pytest.fixture(scope="module")
def qcow2(raw: Path) -> Path:
    return made(raw, raw.with_name("qcow2"), "qcow2")


@pytest.fixture(scope="module")
def token(account: Account) -> str:
    return str(account.evsd.object("token", "create")["token"]["token"])


def glance(account: Account, token: str, *words: str) -> str:
    done = account.run_glance(token, *words)
    assert done.status == 0, (words, done)
    return done.out


def test_glance_has_images_from_create_to_delete(
    account: Account, token: str, raw: Path, qcow2: Path
) -> None:
    options = ("--disk-format", "qcow2", "--container-format", "bare", "--file", str(qcow2))
    shown = glance(account, token, "image-create", "--name", "by-glance", *options)
    assert "active" in shown
    image = account.evsd.object("image", "show", "by-glance")
    assert image["id"] in glance(account, token, "image-list")
    assert "by-glance" in glance(account, token, "image-show", image["id"])
    glance(account, token, "image-update", image["id"], "--name", "renamed")
    glance(account, token, "image-tag-update", image["id"], "blue")
    assert "blue" in glance(account, token, "image-show", image["id"])
    account.evsd.ok("create", "of-glance", "--from-image", "renamed")
    with attached(account.evsd, "of-glance") as uri:
        assert identical(raw, uri)
    glance(account, token, "image-delete", image["id"])
    assert image["id"] not in glance(account, token, "image-list")


def test_glance_is_told_why_a_file_is_refused(account: Account, token: str, qcow2: Path) -> None:
    short = qcow2.with_name("short")
    short.write_bytes(qcow2.read_bytes()[:2_000_000])
    options = ("--disk-format", "qcow2", "--container-format", "bare", "--file", str(short))
    refused = account.run_glance(token, "image-create", "--name", "cut", *options)
    assert refused.status == 1
    assert "ends too early" in refused.err
    assert account.evsd.object("image", "show", "cut")["status"] == "queued"


def test_glance_is_told_that_encrypted_images_are_not_handed_out(
    account: Account, token: str, raw: Path
) -> None:
    account.evsd.ok("image", "import", str(raw), "kept")
    image_id = account.evsd.object("image", "show", "kept")["id"]
    for words in (
        ("image-download", image_id, "--file", str(raw.with_name("out"))),
        ("member-create", image_id, account.project_id),
        ("image-update", image_id, "--visibility", "public"),
    ):
        refused = account.run_glance(token, *words)
        assert (refused.status, "is encrypted" in refused.err) == (1, True), (words, refused)


def test_openstack_has_images_from_create_to_delete(account: Account, raw: Path) -> None:
    def told(*words: str) -> dict[str, object]:
        done = account.run_openstack(*words, "-f", "json")
        assert done.status == 0, (words, done)
        answer: dict[str, object] = json.loads(done.out)
        return answer

    made = told("image", "create", "--disk-format", "raw", "--file", str(raw), "by-openstack")
    assert told("image", "show", "by-openstack")["status"] == "active"
    assert (
        account.run_openstack("image", "set", "--name", "osc-renamed", "by-openstack").status == 0
    )
    assert "osc-renamed" in account.run_openstack("image", "list").out
    volume = told("volume", "create", "--size", "1", "--image", "osc-renamed", "of-openstack")
    with attached(account.evsd, str(volume["id"])) as uri:
        assert identical(raw, uri)
    assert account.run_openstack("image", "delete", "osc-renamed").status == 0
    refused = account.run_openstack("image", "show", str(made["id"]))
    assert (refused.status, "No Image found" in refused.err) == (1, True), refused


def test_openstack_says_why_something_with_an_image_is_refused(
    account: Account, qcow2: Path
) -> None:
    account.evsd.ok("image", "import", str(qcow2), "fixed")
    for command, why in (
        (("image", "show", "none"), "No Image found for none"),
        (("image", "delete", "none"), ""),  # it says something else than evsd
        (("image", "set", "--public", "fixed"), "it is not shared or published"),
        (("image", "set", "--property", "__system__cmkid=x", "fixed"), "__system__cmkid"),
        (("volume", "create", "--size", "1", "--image", "none", "x"), "none"),
        (("image", "create", "--disk-format", "ploop", "x"), "ploop"),
    ):
        done = account.run_openstack(*command)
        assert (done.status, why in done.err) == (1, True), (command, done)


def test_the_sdk_has_images_from_upload_to_delete(account: Account, qcow2: Path) -> None:
    with account.sdk() as connection:
        images = connection.image
        made = images.create_image(
            "by sdk", filename=str(qcow2), disk_format="qcow2", container_format="bare", wait=True
        )
        assert images.find_image("by sdk").status == "active"
        assert made.id in [image.id for image in images.images()]
        images.update_image(made.id, name="of the sdk")
        volume = connection.block_storage.create_volume(size=1, image_id=made.id, name="sdk of")
        connection.block_storage.wait_for_status(volume, "available", wait=60)
        connection.block_storage.delete_volume(volume)
        images.delete_image(made.id)
        assert images.find_image("of the sdk") is None
