"""A header that the disk has lost is put back from a backup, and nothing else is ever put there."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from nbd_plugin import luks2
from tests.support.administrator import add_passphrase, cryptsetup, not_ours, rewritten
from tests.support.daemon import Evsd, Result
from tests.support.killed import kill_at
from tests.support.nbd import exported_token, works
from tests.support.transfer import GIB, MIB, attached, luks_segment, opens
from tests.support.volume import create, new_header


@dataclass(frozen=True)
class Backed:
    """A volume with data, and a backup of its header."""

    evsd: Evsd
    name: str
    file: Path
    backup: Path

    def destroy(self) -> None:
        with self.file.open("r+b") as stream:
            stream.write(os.urandom(MIB))

    def restore(self, backup: Path | None = None) -> Result:
        return self.evsd.ctl("header", "restore", self.name, str(backup or self.backup), "--yes")

    def holds_its_data(self) -> None:
        with attached(self.evsd, self.name) as uri:
            works(uri, "read -P 7 0 4k", "read -P 8 1023M 1M")

    def head(self) -> bytes:
        with self.file.open("rb") as stream:
            return stream.read(MIB)


@contextmanager
def backed(evsd: Evsd, directory: Path, *options: str) -> Iterator[Backed]:
    name = f"backed-{uuid.uuid4()}"
    evsd.ok("create", name, "--size", "1G", "--key", "test-key", *options)
    with attached(evsd, name) as uri:
        works(uri, "write -P 7 0 4k", "write -P 8 1023M 1M", "flush")
    volume = Backed(evsd, name, evsd.pool_file(name), directory / "backup")
    evsd.ok("header", "backup", name, str(volume.backup))
    yield volume
    evsd.ok("delete", name, "--yes")


@pytest.fixture(scope="module", name="thin")
def thin_volume(shared_evsd: Evsd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backed]:
    """One for all that leaves it as it was."""
    with backed(shared_evsd, tmp_path_factory.mktemp("thin")) as made:
        yield made


@pytest.fixture(scope="module", name="thick")
def thick_volume(shared_evsd: Evsd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backed]:
    """As a thin one, but cryptsetup may change it."""
    with backed(shared_evsd, tmp_path_factory.mktemp("thick"), "--thick") as made:
        yield made


def test_a_header_that_was_overwritten_is_restored_with_all_data(thin: Backed) -> None:
    thin.destroy()
    refused = thin.evsd.ctl("attach", thin.name, "--transport", "uri")
    assert (refused.status, f"evsctl header restore {thin.name}" in refused.err) == (1, True)
    assert thin.restore().status == 0
    assert exported_token(thin.file)["type"] == "evsd"
    thin.holds_its_data()


def test_a_backup_is_what_cryptsetup_would_write_and_its_owners_alone(
    thin: Backed, tmp_path: Path
) -> None:
    stock, ours = tmp_path / "stock", tmp_path / "ours"
    cryptsetup("luksHeaderBackup", thin.file, "--header-backup-file", stock)
    thin.evsd.ok("header", "backup", thin.name, str(ours))
    assert ours.read_bytes() == stock.read_bytes() == thin.head()
    assert ours.stat().st_mode & 0o777 == 0o600
    assert thin.restore(stock).status == 0


def test_cryptsetup_itself_can_not_restore_the_header_of_a_thin_volume(thin: Backed) -> None:
    words = ["luksHeaderRestore", "-q", "--header-backup-file", str(thin.backup), str(thin.file)]
    refused = subprocess.run(["cryptsetup", *words], capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "requirements" in refused.stderr


def test_keyslots_of_an_administrator_are_restored_with_it(thick: Backed, tmp_path: Path) -> None:
    passphrase = add_passphrase(thick.file, thick.evsd.data_key(thick.name), tmp_path)
    added, second = not_ours(thick.file), tmp_path / "with-keyslots"
    thick.evsd.ok("header", "backup", thick.name, str(second))
    thick.destroy()
    assert thick.restore(second).status == 0
    assert not_ours(thick.file) == added
    assert opens(thick.file, passphrase)
    thick.holds_its_data()


def test_a_token_that_was_removed_by_accident_comes_back(thick: Backed) -> None:
    cryptsetup("token", "remove", "--token-id", "0", thick.file)
    refused = thick.evsd.ctl("attach", thick.name, "--transport", "uri")
    assert (refused.status, "its token was removed" in refused.err) == (1, True), refused
    assert thick.restore().status == 0
    thick.holds_its_data()


def test_a_backup_from_before_an_extension_gives_the_volume_its_present_size(
    shared_evsd: Evsd, tmp_path: Path
) -> None:
    with backed(shared_evsd, tmp_path) as volume:
        shared_evsd.ok("extend", volume.name, "--size", "2G")
        with attached(shared_evsd, volume.name) as uri:
            works(uri, "write -P 9 2047M 1M", "flush")
        assert volume.restore().status == 0
        assert luks_segment(volume.file)["size"] == str(2 * GIB)
        volume.destroy()
        assert volume.restore().status == 0
        assert luks_segment(volume.file)["size"] == str(2 * GIB)
        with attached(shared_evsd, volume.name) as uri:
            works(uri, "read -P 7 0 4k", "read -P 9 2047M 1M")


def test_a_backup_from_before_the_key_was_rotated_is_good(thin: Backed) -> None:
    thin.evsd.ok("key", "rotate", "test-key")
    thin.destroy()
    assert thin.restore().status == 0
    thin.holds_its_data()


def test_the_header_of_a_volume_in_use_is_backed_up_but_not_restored(
    thin: Backed, tmp_path: Path
) -> None:
    second = tmp_path / "second"
    before = thin.head()
    with attached(thin.evsd, thin.name) as uri:
        works(uri, "read 0 4k")
        thin.evsd.ok("header", "backup", thin.name, str(second))
        refused = thin.restore()
    assert second.read_bytes() == before == thin.head()
    assert (refused.status, f"evsctl detach {thin.name}" in refused.err) == (1, True), refused


def test_a_header_is_not_restored_under_a_disabled_key(thin: Backed) -> None:
    before = thin.head()
    thin.evsd.ok("key", "disable", "test-key", "--yes")
    refused = thin.restore()
    thin.evsd.ok("key", "enable", "test-key")
    assert (refused.status, "EVS.2040" in refused.err, "test-key" in refused.err) == (1, True, True)
    assert thin.head() == before


# What is no backup of this volume.


def of_another_volume(volume: Backed, backup: Path) -> None:
    name = f"other-{uuid.uuid4()}"
    volume.evsd.ok("create", name, "--size", "1G", "--key", "test-key")
    backup.unlink()
    volume.evsd.ok("header", "backup", name, str(backup))
    volume.evsd.ok("delete", name, "--yes")


def damaged(_: Backed, backup: Path) -> None:
    data = bytearray(backup.read_bytes())
    for at in (5000, 16384 + 5000):
        data[at] ^= 1
    backup.write_bytes(data)


def cut(_: Backed, backup: Path) -> None:
    os.truncate(backup, 32768)


def changed(change: Callable[[dict[str, Any]], object]) -> Callable[[Backed, Path], None]:
    return lambda _, backup: rewritten(backup, change)


def with_another_data_key(volume: Backed, backup: Path) -> None:
    """One that the KMS made for whoever asked, and bound to the same volume."""
    token = exported_token(volume.file)
    body = {
        "key_id": token["cmk_id"],
        "datakey_length": "512",
        "encryption_context": token["encryption_context"],
    }
    with volume.evsd.http() as http:
        path = f"/v1.0/{volume.evsd.project_id()}/kms/create-datakey"
        made = http.post(path, json=body).json()
    wrapped = base64.b64encode(bytes.fromhex(made["cipher_text"])).decode()
    rewritten(backup, lambda area: area["tokens"]["0"].update(wrapped_dek=wrapped))


NOISE = base64.b64encode(b"x" * 188).decode()
BAD = {
    "of another volume": (of_another_volume, "it is of volume"),
    "damaged": (damaged, "damaged"),
    "cut": (cut, "32768 bytes"),
    "larger": (changed(lambda a: a["segments"]["0"].update(size=str(2 * GIB))), "was larger"),
    "thick": (changed(lambda a: a["config"].pop("requirements")), "it is of a thick volume"),
    "of another key": (
        changed(lambda a: a["tokens"]["0"].update(cmk_id=str(uuid.uuid4()))),
        "its key is another",
    ),
    "with noise for a data key": (
        changed(
            lambda a: a["tokens"]["0"].update(wrapped_dek=base64.b64encode(b"x" * 188).decode())
        ),
        "can't be decrypted",
    ),
    "with another data key": (with_another_data_key, "another data key"),
    "with another digest": (
        changed(lambda a: a["digests"]["0"].update(digest=base64.b64encode(b"x" * 32).decode())),
        "another data key",
    ),
    "that takes long to check": (
        changed(lambda a: a["digests"]["0"].update(iterations=5_000_000)),
        "not of evsd's making",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_backup_of_this_header_is_refused_and_changes_nothing(
    thin: Backed, tmp_path: Path, kind: str
) -> None:
    spoil, reason = BAD[kind]
    backup, before = tmp_path / "backup", thin.head()
    backup.write_bytes(thin.backup.read_bytes())
    spoil(thin, backup)
    refused = thin.restore(backup)
    assert (refused.status, reason in refused.err) == (1, True), refused
    assert thin.head() == before


@pytest.mark.parametrize("data", ["", "x", "AAAA", "A" * 1_500_000, 7, None])
def test_what_is_no_backup_at_all_gets_the_published_error(thin: Backed, data: object) -> None:
    before = thin.head()
    answer = put(thin, {"header": {"data": data}})
    assert (answer.status_code, answer.json()["badRequest"]["code"]) == (400, 400), answer.text
    assert thin.head() == before


def put(volume: Backed, body: object) -> httpx.Response:
    with volume.evsd.http() as http:
        path = f"/v3/{volume.evsd.project_id()}/volumes/{volume.file.stem}/header"
        return http.put(path, json=body)


def test_a_file_that_is_there_is_not_replaced_by_a_backup(thin: Backed) -> None:
    before = thin.backup.read_bytes()
    refused = thin.evsd.ctl("header", "backup", thin.name, str(thin.backup))
    assert (refused.status, "exists" in refused.err) == (1, True)
    assert thin.backup.read_bytes() == before


def test_a_backup_is_never_a_file_named_like_standard_output(thin: Backed) -> None:
    refused = thin.evsd.ctl("header", "backup", thin.name, "-")
    assert (refused.status, "name a file" in refused.err, Path("-").exists()) == (1, True, False)


def test_a_header_that_is_damaged_is_not_backed_up(thin: Backed, tmp_path: Path) -> None:
    thin.destroy()
    second = tmp_path / "second"
    refused = thin.evsd.ctl("header", "backup", thin.name, str(second))
    assert (refused.status, "header restore" in refused.err, second.exists()) == (1, True, False)
    assert thin.restore().status == 0


def test_a_restore_asks_first(thin: Backed) -> None:
    asked = thin.evsd.ctl("header", "restore", thin.name, str(thin.backup))
    assert (asked.status, "--yes" in asked.err) == (2, True)


# Interrupted anywhere. By the pool itself, on a small file.

CALLS = ("pwrite64", "fsync")
RESTORING = """
import sys
from pathlib import Path
from evsd.pools.file import FilePool
from nbd_plugin import luks2
pool, backup, size = FilePool(Path(sys.argv[1])), Path(sys.argv[2]), int(sys.argv[3])
with backup.open("rb") as stream:
    header, keyslots = luks2.read(stream.fileno()), stream.read()[luks2.HEADER_LENGTH:]
pool.restore_header(header, keyslots, size)
"""


@pytest.mark.parametrize("destroyed", [True, False])
@pytest.mark.parametrize("moment", [f"{call}:{n}" for n in range(1, 4) for call in CALLS])
def test_a_restore_that_is_killed_is_restored_by_the_next(
    tmp_path: Path, destroyed: bool, moment: str
) -> None:
    dek = os.urandom(64)
    header = new_header(dek, 8 * MIB, thin=False)
    file, backup = tmp_path / f"{header.uuid}.luks", tmp_path / "backup"
    create(file, header)
    passphrase = add_passphrase(file, dek, tmp_path)
    cryptsetup("luksHeaderBackup", file, "--header-backup-file", backup)
    cryptsetup("config", "--label", "later", file)
    if destroyed:
        with file.open("r+b") as stream:
            stream.write(os.urandom(MIB))
    restoring = [sys.executable, "-c", RESTORING, str(tmp_path), str(backup), str(8 * MIB)]
    kill_at(moment, restoring)
    if not destroyed:
        with file.open("rb") as stream:
            assert luks2.read(stream.fileno()).wrapped_dek == header.wrapped_dek
        assert opens(file, passphrase)
    subprocess.run(restoring, check=True)
    assert opens(file, passphrase)
    assert "later" not in cryptsetup("luksDump", file)
