"""evsctl key, every command of it, on a real evsd."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from tests.support.daemon import Evsd


def state(ctl: Evsd, key: str) -> str:
    return str(ctl.object("key", "show", key)["key_info"]["key_state"])


def test_a_key_is_shown_with_all_that_is_known_of_it(shared_evsd: Evsd) -> None:
    shown = shared_evsd.ok("key", "create", "shown", "--description", "of mine")
    fields = dict(line.split(None, 1) for line in shown.splitlines() if "  " in line)
    assert fields["alias"] == "shown"
    assert fields["state"] == "enabled"
    assert fields["description"] == "of mine"
    assert shared_evsd.ok("key", "show", "shown") == shown


def test_a_key_is_renamed_and_described(shared_evsd: Evsd) -> None:
    shared_evsd.ok("key", "create", "old-name")
    changed = shared_evsd.ok(
        "key", "update", "old-name", "--alias", "new-name", "--description", "d"
    )
    assert "new-name" in changed
    assert shared_evsd.ctl("key", "show", "old-name").status == 1
    assert shared_evsd.ctl("key", "update", "new-name").status == 2


def test_keys_are_listed_by_state(shared_evsd: Evsd) -> None:
    shared_evsd.ok("key", "create", "listed-off")
    shared_evsd.ok("key", "disable", "listed-off", "--yes")
    off = shared_evsd.ok("key", "list", "--state", "disabled")
    assert "listed-off" in off
    assert "test-key" not in off
    assert shared_evsd.object("key", "list", "--state", "disabled")["total"] >= 1


def test_a_scheduled_deletion_tells_the_days_left_and_is_undone(shared_evsd: Evsd) -> None:
    shared_evsd.ok("key", "create", "doomed")
    said = shared_evsd.ok("key", "schedule-deletion", "doomed", "--days", "10", "--yes")
    assert "evsctl key cancel-deletion doomed" in said
    assert "pending deletion, 10 days left" in shared_evsd.ok("key", "list")
    assert "destroyed on" in shared_evsd.ok("key", "show", "doomed")
    assert "disabled" in shared_evsd.ok("key", "cancel-deletion", "doomed")
    refused = shared_evsd.ctl("key", "schedule-deletion", "doomed", "--days", "6", "--yes")
    assert (refused.status, "KMS.1401" in refused.err) == (1, True)


def test_show_waits_for_a_state(shared_evsd: Evsd) -> None:
    shared_evsd.ok("key", "create", "awaited")
    waiting = shared_evsd.spawn_ctl("key", "show", "awaited", "--wait", "disabled")
    shared_evsd.ok("key", "disable", "awaited", "--yes")
    out, _ = waiting.communicate(timeout=120)
    assert waiting.returncode == 0
    assert "disabled" in out


def test_a_data_key_is_made_and_opened(shared_evsd: Evsd) -> None:
    made = shared_evsd.object("key", "create-datakey", "test-key", "--context", "a=1")
    opened = shared_evsd.ok(
        "key", "decrypt-datakey", "test-key", made["cipher_text"], "--context", "a=1"
    )
    assert opened == made["plain_text"]
    wrong = shared_evsd.ctl("key", "decrypt-datakey", "test-key", made["cipher_text"])
    assert (wrong.status, "KMS.2201" in wrong.err) == (1, True)
    sealed = shared_evsd.object("key", "create-datakey", "test-key", "--without-plaintext")
    assert set(sealed) == {"key_id", "cipher_text"}


def test_a_data_key_of_ones_own_is_encrypted_from_a_file(shared_evsd: Evsd, tmp_path: Path) -> None:
    file = tmp_path / "dek"
    file.write_bytes(os.urandom(64))
    cipher = shared_evsd.ok("key", "encrypt-datakey", "test-key", str(file), "--aad", "x")
    opened = shared_evsd.ok("key", "decrypt-datakey", "test-key", cipher, "--aad", "x")
    assert bytes.fromhex(opened) == file.read_bytes()


def test_text_is_encrypted_and_decrypted(shared_evsd: Evsd, tmp_path: Path) -> None:
    clear, cipher = tmp_path / "clear", tmp_path / "cipher"
    clear.write_text("grüße")
    cipher.write_text(shared_evsd.ok("key", "encrypt", "test-key", str(clear)) + "\n")
    assert shared_evsd.ok("key", "decrypt", str(cipher)) == "grüße"


def test_a_context_is_name_and_value(shared_evsd: Evsd) -> None:
    for words in (["--context", "novalue"], ["--context", "a=1", "--aad", "x"]):
        assert shared_evsd.ctl("key", "create-datakey", "test-key", *words).status == 2


def test_random_bytes_are_printed(shared_evsd: Evsd) -> None:
    assert len(shared_evsd.ok("key", "random", "--bits", "128")) == 32


def test_material_is_imported_deleted_and_imported_again(shared_evsd: Evsd, tmp_path: Path) -> None:
    file = tmp_path / "material"
    file.write_bytes(hashlib.sha256(b"mine").digest())
    assert "imported" in shared_evsd.ok("key", "import", "brought", str(file))
    assert "--yes" in shared_evsd.ctl("key", "delete-material", "brought").err
    shared_evsd.ok("key", "delete-material", "brought", "--yes")
    assert state(shared_evsd, "brought") == "5"
    shared_evsd.ok("key", "import", "brought", str(file))
    assert state(shared_evsd, "brought") == "2"
    file.write_bytes(bytes(31))
    assert shared_evsd.ctl("key", "import", "short", str(file)).status == 2
    assert shared_evsd.ctl("key", "show", "short").status == 1


def test_a_key_is_rotated_now_and_on_time(shared_evsd: Evsd) -> None:
    shared_evsd.ok("key", "create", "turned")
    shared_evsd.ok("key", "rotate", "turned")
    assert "every 90 days" in shared_evsd.ok("key", "rotation", "turned", "--every", "90")
    assert len(shared_evsd.object("key", "rotation", "turned")["key_materials"]) == 2
    off = shared_evsd.object("key", "rotation", "turned", "--off")
    assert off["key_rotation_enabled"] is False
    assert shared_evsd.ctl("key", "rotation", "turned", "--every", "5").status == 2


def test_tags_are_set_listed_and_removed(shared_evsd: Evsd) -> None:
    shared_evsd.ok("key", "create", "labelled")
    shared_evsd.ok("key", "tag", "labelled", "room=1", "floor=2")
    assert "room" in shared_evsd.ok("key", "tags")
    shared_evsd.ok("key", "untag", "labelled", "room")
    tags = shared_evsd.object("key", "tags", "labelled")["tags"]
    assert tags == [{"key": "floor", "value": "2"}]


def test_a_grant_is_made_listed_and_revoked(shared_evsd: Evsd) -> None:
    shared_evsd.ok("key", "create", "lent")
    user_id = shared_evsd.object("user", "create", "borrower")["user"]["id"]
    grant = shared_evsd.ok(
        "key", "grant", "create", "lent", "--to", user_id, "--operation", "encrypt-data"
    )
    assert len(grant) == 64
    assert f"user {user_id}" in shared_evsd.ok("key", "grant", "list", "lent")
    assert "--yes" in shared_evsd.ctl("key", "grant", "revoke", "lent", grant).err
    shared_evsd.ok("key", "grant", "revoke", "lent", grant, "--yes")
    assert shared_evsd.object("key", "grant", "list", "lent")["total"] == 0


def test_quotas_are_shown(shared_evsd: Evsd) -> None:
    assert "CMK" in shared_evsd.ok("key", "quotas")
