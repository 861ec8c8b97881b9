"""What a header says of layers, what stock cryptsetup makes of it, and what is refused."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any

import pytest

from evsd.pools.file import FilePool
from evsd.pools.pool import HeaderInvalid
from nbd_plugin import luks2
from tests.plugin.test_header import COPY, DEK, copy_with, cryptsetup, opened, read
from tests.support.volume import MIB, create, new_header

LAYER, PARENT, SNAPSHOT = (str(uuid.UUID(int=number)) for number in (1, 2, 3))
LAYERS = {"layer_id": LAYER, "parent_layer_id": PARENT, "frozen_by": SNAPSHOT}
BOTTOM = {"layer_id": LAYER, "frozen_by": SNAPSHOT}
EACH_KIND = pytest.mark.parametrize("thin", [True, False], ids=["thin", "thick"])


def made(tmp_path: Path, *, thin: bool, **layers: str) -> Path:
    """A volume's file with this in its header."""
    path = tmp_path / "layer.luks"
    create(path, new_header(DEK, 4 * MIB, thin=thin, **layers))
    return path


def area(path: Path) -> dict[str, Any]:
    """The JSON, as it is on disk."""
    loaded: dict[str, Any] = json.loads(path.read_bytes()[4096:COPY].rstrip(b"\0"))
    return loaded


@EACH_KIND
@pytest.mark.parametrize("layers", [LAYERS, BOTTOM, {"layer_id": LAYER}])
def test_what_a_header_says_of_layers_is_read_back(
    tmp_path: Path, thin: bool, layers: dict[str, str]
) -> None:
    header = read(made(tmp_path, thin=thin, **layers))
    found = {name: getattr(header, name) for name in LAYERS}
    assert found == {"parent_layer_id": "", "frozen_by": "", **layers}
    assert header.thin == thin


@EACH_KIND
def test_luks_dump_names_the_requirement_and_the_token_has_the_layers(
    tmp_path: Path, thin: bool
) -> None:
    path = made(tmp_path, thin=thin, **LAYERS)
    [line] = [
        line for line in cryptsetup("luksDump", str(path)).stdout.splitlines() if "Requ" in line
    ]
    assert "evsd-layer-v1" in line
    assert ("evsd-thin-v1" in line) == thin
    exported = json.loads(cryptsetup("token", "export", "--token-id", "0", str(path)).stdout)
    assert {name: exported[name] for name in LAYERS} == LAYERS


def test_cryptsetup_finds_in_a_layer_of_a_thick_volume_what_it_can_not_work_with(
    tmp_path: Path,
) -> None:
    labelling = ("config", "--label", "mine")
    assert cryptsetup(*labelling, str(made(tmp_path, thin=False))).returncode == 0
    refused = cryptsetup(*labelling, str(made(tmp_path, thin=False, **LAYERS)))
    assert refused.returncode != 0
    assert "Unmet LUKS2 requirements" in refused.stderr


@EACH_KIND
def test_a_volume_that_has_no_layers_any_more_has_the_header_it_began_with(
    tmp_path: Path, thin: bool
) -> None:
    path = made(tmp_path, thin=thin)
    before, header = area(path), read(path)
    with opened(path) as fd:
        luks2.write(fd, header._replace(sequence=2, **LAYERS))
        assert area(path) != before
        luks2.write(fd, header._replace(sequence=3, area=luks2.read(fd).area))
    assert area(path) == before


@EACH_KIND
def test_becoming_a_layer_changes_nothing_that_others_put_into_the_header(
    tmp_path: Path, thin: bool
) -> None:
    path = made(tmp_path, thin=thin)
    theirs = area(path)
    theirs["config"].setdefault("requirements", {})["note"] = "theirs"
    theirs["config"]["flags"] = ["allow-discards"]
    theirs["tokens"]["7"] = {"type": "other", "keyslots": []}
    for index in range(2):
        copy_with(path, index, theirs, sequence=2)
    with opened(path) as fd:
        luks2.write(fd, luks2.read(fd)._replace(sequence=3, **LAYERS))
        layer = area(path)
        luks2.write(fd, luks2.read(fd)._replace(sequence=4, **dict.fromkeys(LAYERS, "")))
    assert layer["config"]["requirements"]["note"] == "theirs"
    assert layer["config"]["flags"] == ["allow-discards"]
    assert area(path) == theirs


@pytest.mark.parametrize(
    ("token", "required"),
    [
        (LAYERS, []),
        ({}, ["evsd-layer-v1"]),
        ({"parent_layer_id": PARENT}, []),
        ({"parent_layer_id": PARENT}, ["evsd-layer-v1"]),
        ({"layer_id": 7}, ["evsd-layer-v1"]),
        ({"layer_id": "x" * 36}, ["evsd-layer-v1"]),
        ({"layer_id": LAYER, "parent_layer_id": LAYER}, ["evsd-layer-v1"]),
        ({"layer_id": LAYER, "frozen_by": ""}, ["evsd-layer-v1"]),
    ],
)
def test_a_header_that_contradicts_itself_about_layers_is_refused(
    tmp_path: Path, token: dict[str, Any], required: list[str]
) -> None:
    path = made(tmp_path, thin=False)
    changed = area(path)
    changed["tokens"]["0"].update(token)
    changed["config"]["requirements"] = {"mandatory": required}
    for index in range(2):
        copy_with(path, index, changed)
    with pytest.raises(luks2.HeaderError, match=r"layer|UUID"):
        read(path)


def test_a_version_that_knows_no_layers_refuses_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made(tmp_path, thin=True, **LAYERS)
    monkeypatch.setattr(luks2, "_REQUIREMENTS", (luks2.THIN_REQUIREMENT,))
    with pytest.raises(luks2.HeaderError, match="it needs evsd-layer-v1"):
        read(path)


def test_a_layer_with_a_parent_but_without_an_id_is_not_written(tmp_path: Path) -> None:
    path = made(tmp_path, thin=True)
    with opened(path) as fd:
        header = luks2.read(fd)
        with pytest.raises(luks2.HeaderError):
            luks2.write(fd, header._replace(sequence=2, parent_layer_id=PARENT))
        assert luks2.read(fd) == header


def test_the_first_layer_of_a_volume_is_named_by_the_volumes_id() -> None:
    header = new_header(os.urandom(64), MIB)
    assert header.own_layer == header.uuid
    assert header._replace(layer_id=LAYER).own_layer == LAYER


def test_a_backup_from_before_a_snapshot_is_not_restored_over_a_layer(tmp_path: Path) -> None:
    header = new_header(DEK, MIB)
    pool = FilePool(tmp_path)
    pool.create(header)
    keyslots = bytes(luks2.DATA_OFFSET - luks2.HEADER_LENGTH)
    with opened(pool.path(header.uuid)) as fd:
        luks2.write(fd, header._replace(sequence=2, layer_id=LAYER, parent_layer_id=PARENT))
    with pytest.raises(HeaderInvalid, match="other snapshots"):
        pool.restore_header(header, keyslots, header.size)
