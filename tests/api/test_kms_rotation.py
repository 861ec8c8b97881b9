"""Rotation and tags, by the cloud's own SDK."""

from __future__ import annotations

import pytest
from huaweicloudsdkkms.v2 import KmsClient

from tests.api.conftest import MakeClient
from tests.support.kms import Kms

ON_EACH_TOKEN = True


@pytest.fixture(scope="module")
def kms(make_client: MakeClient) -> Kms:
    return Kms(make_client(KmsClient))


def version_of(cipher_text: str) -> int:
    return int.from_bytes(bytes.fromhex(cipher_text)[-36:-32], "little")


def test_rotation_is_switched_on_changed_and_off(kms: Kms) -> None:
    key_id = kms.new_key("turning")
    off = kms("show_key_rotation_status", key_id=key_id)
    assert (off.key_rotation_enabled, off.number_of_rotations) == (False, 0)
    assert kms("enable_key_rotation", key_id=key_id).raw_content == b"{}"
    on = kms("show_key_rotation_status", key_id=key_id)
    assert (on.key_rotation_enabled, on.rotation_interval) == (True, 365)
    assert kms.details(key_id).key_rotation_enabled == "true"
    kms("update_key_rotation_interval", key_id=key_id, rotation_interval=30)
    assert kms("show_key_rotation_status", key_id=key_id).rotation_interval == 30
    kms("disable_key_rotation", key_id=key_id)
    assert kms.details(key_id).key_rotation_enabled == "false"


def test_what_rotation_does_not_allow_has_its_published_code(kms: Kms) -> None:
    key_id = kms.new_key("limits")
    assert kms.refusal("disable_key_rotation", key_id=key_id) == (400, "KMS.0313")
    interval = {"key_id": key_id, "rotation_interval": 90}
    assert kms.refusal("update_key_rotation_interval", **interval) == (400, "KMS.0313")
    kms("enable_key_rotation", key_id=key_id)
    assert kms.refusal("enable_key_rotation", key_id=key_id) == (400, "KMS.2901")
    for days in (29, 366, 0, -30, 10**12):
        interval["rotation_interval"] = days
        assert kms.refusal("update_key_rotation_interval", **interval) == (400, "KMS.3001")


def test_a_rotated_key_encrypts_anew_and_still_decrypts_what_is_old(kms: Kms) -> None:
    key_id = kms.new_key("rotated")
    made = [kms("create_datakey", key_id=key_id)]
    for _ in range(2):
        assert kms("rotate_on_demand", key_id=key_id).key_id == key_id
        made.append(kms("create_datakey", key_id=key_id))
    assert [version_of(datakey.cipher_text) for datakey in made] == [1, 2, 3]
    for datakey in made:
        opening = {"cipher_text": datakey.cipher_text, "datakey_cipher_length": "32"}
        assert kms("decrypt_datakey", key_id=key_id, **opening).data_key == datakey.plain_text
    status = kms("show_key_rotation_status", key_id=key_id)
    assert status.number_of_rotations == 2
    assert len(status.key_materials) == 3
    assert len(status.last_rotation_time) == 13


@pytest.mark.parametrize(("off", "code"), [("disable_key", "KMS.0209"), ("delete_key", "KMS.0210")])
def test_a_key_that_can_not_be_used_is_not_rotated(kms: Kms, off: str, code: str) -> None:
    key_id = kms.new_key(f"unrotated-{off}")
    fields = {"pending_days": "7"} if off == "delete_key" else {}
    kms(off, key_id=key_id, **fields)
    assert kms.refusal("rotate_on_demand", key_id=key_id) == (400, code)


# --- tags --------------------------------------------------------------------------------------


def tags_of(kms: Kms, key_id: str) -> dict[str, str]:
    answer = kms("show_kms_tags", key_id=key_id)
    assert answer.exist_tags_num == len(answer.tags)
    return {tag.key: tag.value for tag in answer.tags}


def test_tags_are_added_changed_and_removed(kms: Kms) -> None:
    key_id = kms.new_key("tagged")
    made = kms("create_kms_tag", key_id=key_id, tag={"key": "room", "value": "1"})
    assert made.status_code == 204
    several = [{"key": "room", "value": "2"}, {"key": "floor", "value": ""}]
    batch = {"tags": several, "action": "create"}
    assert kms("batch_create_kms_tags", key_id=key_id, **batch).status_code == 204
    assert tags_of(kms, key_id) == {"room": "2", "floor": ""}
    assert kms("delete_tag", key_id=key_id, key="room").status_code == 204
    assert tags_of(kms, key_id) == {"floor": ""}
    assert kms.refusal("delete_tag", key_id=key_id, key="room") == (404, "KMS.0416")
    batch["action"] = "delete"
    assert kms.refusal("batch_create_kms_tags", key_id=key_id, **batch) == (404, "KMS.0416")
    assert tags_of(kms, key_id) == {"floor": ""}  # all or none


def test_keys_are_found_by_their_tags(kms: Kms) -> None:
    first, second = kms.new_key("found-1"), kms.new_key("found-2")
    for key_id, value in ((first, "a"), (second, "b")):
        kms("create_kms_tag", key_id=key_id, tag={"key": "team", "value": value})
    values = {tag.key: set(tag.values) for tag in kms("list_kms_tags").tags}
    assert values["team"] == {"a", "b"}

    def found(values: list[str], **fields: object) -> list[str]:
        answer = kms(
            "list_kms_by_tags",
            resource_instances="resource_instances",
            action="filter",
            tags=[{"key": "team", "values": values}],
            **fields,
        )
        return [resource.resource_id for resource in answer.resources]

    assert set(found([])) == {first, second}
    assert found(["b"]) == [second]
    assert len(found([], limit="1", offset="1")) == 1
    assert found([], matches=[{"key": "resource_name", "value": "nd-1"}]) == [first]
    count = kms(
        "list_kms_by_tags", resource_instances="resource_instances", action="count", tags=[]
    )
    assert count.total_count >= 2


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("", "v", "KMS.0406"),
        ("k" * 37, "v", "KMS.0406"),
        ("a*b", "v", "KMS.0406"),
        ("k", "v" * 44, "KMS.0405"),
        ("k", "a<b", "KMS.0405"),
        ("k\n", "v", "KMS.0406"),
    ],
)
def test_a_tag_is_short_and_plain(kms: Kms, key: str, value: str, code: str) -> None:
    key_id = kms.new_key(f"plain-{abs(hash((key, value)))}")
    tag = {"key": key, "value": value}
    assert kms.refusal("create_kms_tag", key_id=key_id, tag=tag) == (400, code)


def test_a_key_has_at_most_ten_tags(kms: Kms) -> None:
    key_id = kms.new_key("full")
    tags = [{"key": f"t{number}"} for number in range(11)]
    batch = {"tags": tags, "action": "create"}
    assert kms.refusal("batch_create_kms_tags", key_id=key_id, **batch) == (400, "KMS.0409")
    assert tags_of(kms, key_id) == {}
