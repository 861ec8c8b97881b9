"""A key is named by its id, its alias or ``alias/`` and that, wherever a KEY is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.daemon import Evsd


@pytest.mark.parametrize("spelled", ["alias/test-key", " test-key ", "alias/test-key\n"])
def test_every_command_takes_an_alias_as_the_api_writes_it(
    shared_evsd: Evsd, tmp_path: Path, spelled: str
) -> None:
    text = tmp_path / "text"
    text.write_text("x")
    wanted = shared_evsd.object("key", "show", "test-key")["key_info"]["key_id"]
    assert shared_evsd.object("key", "show", spelled)["key_info"]["key_id"] == wanted
    volume = shared_evsd.object("create", "named", "--size", "1G", "--key", spelled)["volume"]
    assert volume["metadata"]["__system__cmkid"] == wanted
    shared_evsd.ok("delete", "named", "--yes")
    for words in (
        ("key", "rotation", spelled),
        ("key", "tags", spelled),
        ("key", "tag", spelled, "a=1"),
        ("key", "grant", "list", spelled),
        ("key", "create-datakey", spelled),
        ("key", "encrypt", spelled, str(text)),
        ("key", "update", spelled, "--description", "d"),
        ("audit", "list", "--key", spelled, "--limit", "1"),
    ):
        shared_evsd.ok(*words)


def test_an_id_is_taken_in_any_case_and_with_spaces_around(shared_evsd: Evsd) -> None:
    wanted = shared_evsd.object("key", "show", "test-key")["key_info"]["key_id"]
    for spelled in (wanted.upper(), f" {wanted}\t"):
        assert shared_evsd.object("key", "show", spelled)["key_info"]["key_id"] == wanted


def test_an_alias_that_itself_begins_so_is_never_mistaken(shared_evsd: Evsd) -> None:
    with shared_evsd.http() as http:
        path = f"/v1.0/{shared_evsd.project_id()}/kms/create-key"
        made = [
            http.post(path, json={"key_alias": alias}).json()["key_info"]["key_id"]
            for alias in ("alias/odd", "alias/two", "two")
        ]
    assert shared_evsd.object("key", "show", "alias/odd")["key_info"]["key_id"] == made[0]
    refused = shared_evsd.ctl("key", "disable", "alias/two", "--yes")
    assert (refused.status, made[1] in refused.err, made[2] in refused.err) == (2, True, True)
    assert shared_evsd.object("key", "show", "two")["key_info"]["key_id"] == made[2]


def test_a_new_alias_is_given_without_the_mark(shared_evsd: Evsd, tmp_path: Path) -> None:
    material = tmp_path / "material"
    material.write_bytes(os.urandom(32))
    for words in (
        ("key", "create", "alias/new"),
        ("key", "update", "test-key", "--alias", "alias/new"),
        ("key", "import", "alias/new", str(material)),
    ):
        refused = shared_evsd.ctl(*words)
        assert (refused.status, "say 'new'" in refused.err) == (2, True), refused


@pytest.mark.parametrize("spelled", ["", " ", "alias/", "alias/none", "none", "0" * 36])
def test_a_key_that_is_not_there_is_said_so(shared_evsd: Evsd, spelled: str) -> None:
    refused = shared_evsd.ctl("key", "show", spelled)
    assert (refused.status, "KMS.0207" in refused.err) == (1, True), refused
