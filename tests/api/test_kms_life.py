"""The life of a CMK, by the cloud's own SDK."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from huaweicloudsdkkms.v2 import KmsClient

from evsd.audit.chain import newest_first
from evsd.audit.verification import verify
from tests.api.conftest import MakeClient
from tests.support.backup import back_up, restore
from tests.support.daemon import Evsd, until
from tests.support.kms import Kms
from tests.support.tokens import ForeignToken, key_count

ON_EACH_TOKEN = True

DAY = 86400


@pytest.fixture(scope="module")
def kms(make_client: MakeClient) -> Kms:
    return Kms(make_client(KmsClient))


LONG_STEADY = "UPDATE clock SET steady_since = datetime('now', '-2 days')"
DUE = "UPDATE keys SET deletion_at = datetime('now', '-1 minute') WHERE id = '{}'"


def test_an_alias_and_a_description_are_changed(kms: Kms) -> None:
    key_id = kms.new_key("before")
    renamed = kms("update_key_alias", key_id=key_id, key_alias="after").key_info
    assert (renamed.key_id, renamed.key_alias) == (key_id, "after")
    text = kms("update_key_description", key_id=key_id, key_description="words").key_info
    assert text.key_description == "words"
    details = kms.details(key_id)
    assert (details.key_alias, details.key_description) == ("after", "words")


def test_an_alias_that_is_taken_is_refused(kms: Kms) -> None:
    kms.new_key("taken")
    other = kms.new_key("free")
    assert kms.refusal("create_key", key_alias="taken") == (400, "KMS.1104")
    refused = kms.refusal("update_key_alias", key_id=other, key_alias="taken")
    assert refused == (400, "KMS.1104")
    assert kms("update_key_alias", key_id=other, key_alias="free").key_info.key_alias == "free"


def test_a_scheduled_deletion_is_shown_and_cancelled_to_disabled(kms: Kms) -> None:
    key_id = kms.new_key("scheduled")
    scheduled = kms("delete_key", key_id=key_id, pending_days="7")
    assert (scheduled.key_id, scheduled.key_state) == (key_id, "4")
    date = int(kms.details(key_id).scheduled_deletion_date) / 1000
    assert abs(date - time.time() - 7 * DAY) < 60
    assert kms.refusal("create_datakey", key_id=key_id) == (400, "KMS.0210")
    cancelled = kms("cancel_key_deletion", key_id=key_id)
    assert (cancelled.key_id, cancelled.key_state) == (key_id, "3")
    assert kms.details(key_id).scheduled_deletion_date == ""
    kms("enable_key", key_id=key_id)
    kms("create_datakey", key_id=key_id)


@pytest.mark.parametrize("days", ["6", "1097", "0", "-7", "seven", "7.5", ""])
def test_a_waiting_period_is_7_to_1096_days(kms: Kms, days: str) -> None:
    key_id = kms.new_key(f"days-{abs(hash(days))}")
    assert kms.refusal("delete_key", key_id=key_id, pending_days=days) == (400, "KMS.1401")
    assert kms.state(key_id) == "2"
    kms("delete_key", key_id=key_id, pending_days="1096")


def test_what_a_state_does_not_allow_has_its_published_code(kms: Kms) -> None:
    key_id = kms.new_key("states")
    assert kms.refusal("enable_key", key_id=key_id) == (400, "KMS.1201")
    assert kms.refusal("cancel_key_deletion", key_id=key_id) == (400, "KMS.1501")
    kms("delete_key", key_id=key_id, pending_days="7")
    assert kms.refusal("delete_key", key_id=key_id, pending_days="7") == (400, "KMS.1402")
    assert kms.refusal("disable_key", key_id=key_id) == (400, "KMS.1301")
    renamed = kms.refusal("update_key_alias", key_id=key_id, key_alias="other-states")
    assert renamed == (400, "KMS.0210")


def test_default_keys_can_be_changed_by_nobody(kms: Kms, tcp_evsd: Evsd) -> None:
    tcp_evsd.ok("create", "default-user", "--size", "1G")
    key_id = tcp_evsd.object("key", "show", "evs/default")["key_info"]["key_id"]
    fixed = (400, "KMS.0211")
    assert kms.refusal("disable_key", key_id=key_id) == fixed
    assert kms.refusal("delete_key", key_id=key_id, pending_days="7") == fixed
    assert kms.refusal("update_key_alias", key_id=key_id, key_alias="mine") == fixed
    assert kms.refusal("update_key_description", key_id=key_id, key_description="x") == fixed
    assert kms.refusal("enable_key_rotation", key_id=key_id) == fixed
    assert kms.refusal("rotate_on_demand", key_id=key_id) == fixed
    assert kms.refusal("create_key", key_alias="my/default") == (400, "KMS.1101")


def test_quotas_and_instances_count_custom_keys(kms: Kms) -> None:
    before = kms("show_user_instances").instance_num
    kms.new_key("counted")
    assert kms("show_user_instances").instance_num == before + 1
    resources = {r.type: (r.used, r.quota) for r in kms("show_user_quotas").quotas.resources}
    assert resources["CMK"] == (before + 1, 100)
    assert resources["grant_per_CMK"][1] == 100


def test_the_hundred_and_first_key_is_refused(kms: Kms) -> None:
    missing = 100 - kms("show_user_instances").instance_num
    made = [kms.new_key(f"quota-{number}") for number in range(missing)]
    assert kms.refusal("create_key", key_alias="one-too-many") == (400, "KMS.1105")
    assert len(made) == missing


def test_versions_are_listed_and_shown(kms: Kms) -> None:
    assert "v1.0" in [version.id for version in kms("show_versions").versions]
    assert kms("show_version", version_id="v1.0").version["id"] == "v1.0"
    assert kms.refusal("show_version", version_id="v9")[0] == 404


# --- the end of a key ------------------------------------------------------------------------


@pytest.mark.on_each_token
def test_when_the_day_has_come_the_key_and_all_its_versions_are_destroyed(
    evsd: Evsd, token: ForeignToken | None
) -> None:
    evsd.prepare()
    key_id = evsd.object("key", "show", "test-key")["key_info"]["key_id"]
    evsd.ok("key", "rotate", "test-key")
    evsd.ok("create", "lost", "--size", "1G", "--key", "test-key")
    before = key_count(evsd, token)
    evsd.ok("key", "schedule-deletion", "test-key", "--days", "7", "--yes")
    evsd.restarted_with(LONG_STEADY, DUE.format(key_id))
    until(lambda: "KMS.0207" in evsd.ctl("key", "show", key_id).err)
    until(lambda: key_count(evsd, token) == before - 2)
    refused = evsd.ctl("key", "show", key_id).err
    assert "was destroyed on" in refused
    assert "nothing brings it back" in refused
    attach = evsd.ctl("attach", "lost", "--transport", "uri")
    assert attach.status == 1
    assert "was destroyed on" in attach.err
    assert "test-key" not in evsd.ok("key", "list")
    assert f"{key_id} (destroyed)" in evsd.ok("show", "lost")
    evsd.ok("key", "create", "test-key")  # the alias is free again
    record = next(r for r in newest_first(evsd.state / "audit.log") if r["action"] == "destroy-key")
    assert record["key_id"] == key_id
    assert "lost" in record["context"].values()
    assert record["signed"]
    assert verify(evsd.state / "audit.log").findings == []


def test_a_day_that_has_not_come_destroys_nothing(evsd: Evsd, token: ForeignToken | None) -> None:
    evsd.prepare()
    before = key_count(evsd, token)
    evsd.ok("key", "schedule-deletion", "test-key", "--days", "7", "--yes")
    tomorrow = "UPDATE keys SET deletion_at = datetime('now', '+1 day')"
    evsd.restarted_with(LONG_STEADY, tomorrow)
    evsd.ok("key", "cancel-deletion", "test-key")
    evsd.ok("key", "enable", "test-key")
    assert key_count(evsd, token) == before


@pytest.mark.parametrize(
    "clock",
    [
        "UPDATE clock SET seen_at = datetime('now', '-31 days'), steady_since = '2020-01-01'",
        "UPDATE clock SET seen_at = datetime('now', '+31 days'), steady_since = '2020-01-01'",
    ],
    ids=["evsd was down for a month", "the clock was set back by a month"],
)
def test_nothing_is_destroyed_before_the_clock_was_steady_for_a_day(
    evsd: Evsd, token: ForeignToken | None, clock: str
) -> None:
    evsd.prepare()
    key_id = evsd.object("key", "show", "test-key")["key_info"]["key_id"]
    before = key_count(evsd, token)
    evsd.ok("key", "schedule-deletion", "test-key", "--days", "7", "--yes")
    evsd.restarted_with(clock, DUE.format(key_id))
    until(lambda: "the clock is not steady" in evsd.log.read_text())
    evsd.ok("key", "cancel-deletion", "test-key")
    evsd.ok("key", "enable", "test-key")
    assert key_count(evsd, token) == before


def test_a_deletion_that_was_cancelled_since_the_backup_is_not_carried_out(
    evsd: Evsd, token: ForeignToken | None
) -> None:
    """Until the operator has looked through the database and accepts it."""
    evsd.prepare()
    key_id = evsd.object("key", "show", "test-key")["key_info"]["key_id"]
    objects = key_count(evsd, token)
    evsd.ok("key", "schedule-deletion", "test-key", "--days", "7", "--yes")
    backup = back_up(evsd)
    with closing(sqlite3.connect(backup / "evsd.db")) as database, database:
        database.execute(LONG_STEADY)
        database.execute(DUE.format(key_id))
    evsd.ok("key", "cancel-deletion", "test-key")
    restore(evsd, backup)
    until(lambda: "key not destroyed: the database was restored" in evsd.log.read_text())
    assert key_count(evsd, token) == objects
    [told] = evsd.object("audit", "list", "--action", "start-on-restored-database")["records"]
    assert told["result"] == "ok"
    evsd.options = ("--accept-restored-database",)
    evsd.restarted_with(LONG_STEADY)
    until(lambda: key_count(evsd, token) < objects)


def test_objects_that_a_crash_left_behind_are_destroyed_by_the_next_round(
    evsd: Evsd, token: ForeignToken | None
) -> None:
    evsd.prepare()
    before = key_count(evsd, token)
    gone = "UPDATE keys SET status = '0', deletion_at = '2026-01-01', alias = 'gone#x'"
    evsd.restarted_with(LONG_STEADY, gone)
    until(lambda: key_count(evsd, token) == before - 1)


@pytest.mark.on_each_token
def test_rotation_after_the_database_was_restored_keeps_what_newer_versions_encrypted(
    evsd: Evsd, tmp_path: Path
) -> None:
    evsd.prepare()
    evsd.stop()
    backup = tmp_path / "evsd.db"
    with sqlite3.connect(evsd.state / "evsd.db") as source, sqlite3.connect(backup) as copy:
        source.backup(copy)
    evsd.start()
    evsd.ok("key", "rotate", "test-key")
    newer = evsd.object("key", "create-datakey", "test-key")
    evsd.stop()
    with sqlite3.connect(backup) as source, sqlite3.connect(evsd.state / "evsd.db") as copy:
        source.backup(copy)
    evsd.start()
    evsd.ok("key", "rotate", "test-key")
    opened = evsd.ok("key", "decrypt-datakey", "test-key", newer["cipher_text"])
    assert opened == newer["plain_text"]


def test_until_the_day_show_list_and_log_tell_the_days_left(evsd: Evsd) -> None:
    evsd.prepare()
    evsd.ok("create", "ticking", "--size", "1G", "--key", "test-key")
    evsd.ok("key", "schedule-deletion", "test-key", "--days", "20", "--yes")
    told = "test-key (pending deletion, 20 days left)"
    assert told in evsd.ok("show", "ticking")
    assert told in evsd.ok("list")
    evsd.restarted_with()
    until(lambda: '"days_left": 20' in evsd.log.read_text())
    evsd.ok("key", "cancel-deletion", "test-key")
    assert "test-key (disabled)" in evsd.ok("list")
    evsd.ok("key", "enable", "test-key")
    assert "(" not in evsd.ok("list")


def test_deletion_lists_what_hangs_on_the_key_and_asks(evsd: Evsd) -> None:
    evsd.prepare()
    evsd.ok("create", "precious", "--size", "1G", "--key", "test-key")
    asked = evsd.ctl("key", "schedule-deletion", "test-key")
    assert asked.status == 2
    assert "precious (available)" in asked.err
    assert "--yes" in asked.err
    assert evsd.object("key", "show", "test-key")["key_info"]["key_state"] == "2"


def test_a_key_is_rotated_when_its_interval_has_passed_and_once(evsd: Evsd) -> None:
    evsd.prepare()
    evsd.ok("key", "rotation", "test-key", "--every", "30")
    evsd.restarted_with("UPDATE keys SET rotation_from = datetime('now', '-31 days')")

    def versions() -> int:
        return len(evsd.object("key", "rotation", "test-key")["key_materials"])

    until(lambda: versions() == 2)
    evsd.restarted_with()
    assert versions() == 2


# Every operation of the SDK that is covered, with the least it takes.
KEY: dict[str, object] = {"key_id": "00000000-0000-4000-8000-000000000000"}
OPERATIONS: dict[str, dict[str, object]] = {
    "create_key": {"key_alias": "a"},
    "list_keys": {},
    "list_key_detail": KEY,
    "enable_key": KEY,
    "disable_key": KEY,
    "delete_key": {**KEY, "pending_days": "7"},
    "cancel_key_deletion": KEY,
    "update_key_alias": {**KEY, "key_alias": "a"},
    "update_key_description": {**KEY, "key_description": "a"},
    "create_datakey": KEY,
    "create_datakey_without_plaintext": KEY,
    "encrypt_datakey": {**KEY, "plain_text": "00" * 33, "datakey_plain_length": "1"},
    "decrypt_datakey": {**KEY, "cipher_text": "00", "datakey_cipher_length": "1"},
    "encrypt_data": {**KEY, "plain_text": "a"},
    "decrypt_data": {"cipher_text": "A" * 128},
    "create_random": {"random_data_length": "8"},
    "create_grant": {**KEY, "grantee_principal": "a", "operations": ["encrypt-data"]},
    "list_grants": KEY,
    "list_retirable_grants": {},
    "cancel_grant": {**KEY, "grant_id": "0" * 64},
    "cancel_self_grant": {**KEY, "grant_id": "0" * 64},
    "create_parameters_for_import": {**KEY, "wrapping_algorithm": "RSAES_OAEP_SHA_256"},
    "import_key_material": {
        **KEY,
        "import_token": "A" * 200,
        "encrypted_key_material": "A" * 344,
    },
    "delete_imported_key_material": KEY,
    "enable_key_rotation": KEY,
    "disable_key_rotation": KEY,
    "update_key_rotation_interval": {**KEY, "rotation_interval": 30},
    "show_key_rotation_status": KEY,
    "rotate_on_demand": KEY,
    "show_user_quotas": {},
    "show_user_instances": {},
    "list_kms_by_tags": {"resource_instances": "resource_instances", "action": "count"},
    "list_kms_tags": {},
    "show_kms_tags": KEY,
    "create_kms_tag": {**KEY, "tag": {"key": "a"}},
    "batch_create_kms_tags": {**KEY, "action": "create", "tags": [{"key": "a"}]},
    "delete_tag": {**KEY, "key": "a"},
    "show_versions": {},
    "show_version": {"version_id": "v1.0"},
}
# Those that name a key find none; the others have other ways to fail, tested where they are.
NAMES_A_KEY = [name for name, fields in OPERATIONS.items() if "key_id" in fields]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_is_refused_to_a_false_secret(
    operation: str, make_client: MakeClient, credential: dict[str, str]
) -> None:
    intruder = Kms(make_client(KmsClient, credential["access"], "x" * 40))
    assert intruder.refusal(operation, **OPERATIONS[operation]) == (401, "APIGW.0301")


@pytest.mark.parametrize("operation", NAMES_A_KEY)
def test_every_operation_on_a_key_that_does_not_exist_says_so(operation: str, kms: Kms) -> None:
    assert kms.refusal(operation, **OPERATIONS[operation]) == (404, "KMS.0207")
