"""evsctl import of LUKS files: what is no whole one, and a volume's own file with a passphrase."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import Evsd
from tests.support.images import accepted, cut, judged, patched, refusal
from tests.support.nbd import works
from tests.support.transfer import GIB, MIB, attached, run

QUICK = ("--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000")
COPY = 16384


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    key = tmp_path_factory.mktemp("key") / "key"
    key.write_text("open sesame")
    return key


def formatted(path: Path, key: Path, *options: str, length: int = 20 * MIB) -> Path:
    with path.open("wb") as file:
        file.truncate(length)
    run("cryptsetup", "luksFormat", "-q", *QUICK, "--key-file", key, *options, path)
    return path


def with_header(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """The same LUKS2 file with another JSON area, in both copies and with good checksums."""
    for at in (0, COPY):
        with path.open("rb") as file:
            file.seek(at)
            copy = bytearray(file.read(COPY))
        metadata = json.loads(copy[4096:].split(b"\0")[0])
        change(metadata)
        copy[4096:] = json.dumps(metadata).encode().ljust(COPY - 4096, b"\0")
        copy[448:512] = bytes(64)
        copy[448:480] = hashlib.sha256(copy).digest()
        patched(path, (at, bytes(copy)))
    return path


def refused(image: Path, key: Path) -> str:
    return refusal(image, "--key-file", str(key))


@pytest.mark.parametrize("version", ["luks1", "luks2"])
def test_a_detached_header_is_refused(tmp_path: Path, key: Path, version: str) -> None:
    header, data = tmp_path / "header", tmp_path / "data"
    data.write_bytes(bytes(8 * MIB))
    formatted(data, key, f"--type={version}", f"--header={header}")
    assert "detached" in refused(header, key)


@pytest.mark.parametrize("version", ["luks1", "luks2"])
def test_a_backup_of_a_header_is_refused(tmp_path: Path, key: Path, version: str) -> None:
    whole, backup = formatted(tmp_path / "whole", key, f"--type={version}"), tmp_path / "backup"
    run("cryptsetup", "luksHeaderBackup", whole, "--header-backup-file", backup)
    accepted(whole, "--key-file", str(key))
    said = refused(backup, key)
    assert "detached" in said or "no data" in said


@pytest.mark.parametrize("version", ["luks1", "luks2"])
def test_a_luks_file_that_is_cut_is_refused(tmp_path: Path, key: Path, version: str) -> None:
    whole = formatted(tmp_path / "whole", key, f"--type={version}", "--align-payload=8192")
    refused(cut(whole, 4 * MIB), key)
    assert "ends too early" in refused(cut(whole, 20 * MIB - 100), key)
    refused(cut(whole, 100_000), key)


@pytest.mark.parametrize(
    ("offset", "size"),
    [
        (0, "dynamic"),
        (COPY, "dynamic"),
        (128 * 1024, "dynamic"),
        (15 * MIB, "dynamic"),
        (64 * MIB, "dynamic"),
        (16 * MIB, str(64 * MIB)),
    ],
)
def test_a_segment_that_is_not_between_the_header_and_the_end_is_refused(
    tmp_path: Path, key: Path, offset: int, size: str
) -> None:
    whole = formatted(tmp_path / "whole", key)
    place = {"offset": str(offset), "size": size}
    refused(with_header(whole, lambda metadata: metadata["segments"]["0"].update(place)), key)


@pytest.mark.parametrize("payload", [0, 8, 64 * MIB // 512])
def test_a_luks1_payload_that_is_not_between_the_header_and_the_end_is_refused(
    tmp_path: Path, key: Path, payload: int
) -> None:
    whole = formatted(tmp_path / "whole", key, "--type=luks1")
    refused(patched(whole, (104, payload.to_bytes(4, "big"))), key)


# --- a volume's own file -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def thick(shared_evsd: Evsd, key: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of a thick volume's file, with a passphrase that an administrator has added."""
    shared_evsd.ok("create", "thick", "--size", "1G", "--key", "test-key", "--thick")
    with attached(shared_evsd, "thick") as uri:
        works(uri, "write -P 0xa5 0 4k", "write -P 0x5a 1023M 1M", "flush")
    copy, data_key = Path(shared_evsd.pool, "copy"), tmp_path_factory.mktemp("dek") / "dek"
    shutil.copy(shared_evsd.pool_file("thick"), copy)
    data_key.write_bytes(shared_evsd.data_key("thick"))
    volume_key = ("--volume-key-file", data_key, "--key-size", 512)
    run("cryptsetup", "luksAddKey", "-q", *QUICK, *volume_key, copy, key)
    shared_evsd.ok("delete", "thick", "--yes")
    yield copy
    copy.unlink()


def test_a_thick_volumes_file_is_read_by_an_added_passphrase_without_the_kms(
    shared_evsd: Evsd, thick: Path, key: Path
) -> None:
    shared_evsd.ok("key", "disable", "test-key", "--yes")
    try:
        shared_evsd.ok("import", str(thick), "rescued", "--key-file", str(key))
    finally:
        shared_evsd.ok("key", "enable", "test-key")
    assert shared_evsd.object("show", "rescued")["volume"]["size"] == 1
    with attached(shared_evsd, "rescued") as uri:
        works(uri, "read -P 0xa5 0 4k", "read -P 0 4k 1M", "read -P 0x5a 1023M 1M")
    shared_evsd.ok("delete", "rescued", "--yes")


def test_a_wrong_passphrase_does_not_read_it(thick: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("open barley")
    result = judged(thick, "--key-file", str(wrong))
    assert (result.status, "opens no slot" in result.err) == (1, True)


def test_a_thin_volumes_file_is_never_read_as_stock_luks(
    thick: Path, key: Path, tmp_path: Path
) -> None:
    """Its zeros are zeros, and would come out as noise."""
    image = tmp_path / "thin"
    with thick.open("rb") as whole, image.open("wb") as file:
        file.write(whole.read(MIB))
        file.truncate(GIB + MIB)
    requirement = {"mandatory": ["evsd-thin-v1"]}
    with_header(image, lambda metadata: metadata["config"].update(requirements=requirement))
    said = refused(image, key)
    assert ("itself" in said, "evsctl recover" in said) == (True, True)
    with_header(image, lambda metadata: metadata.update(tokens={}))
    assert "evsd-thin-v1" in refused(image, key)


def test_a_volumes_file_without_a_passphrase_is_for_recover(shared_evsd: Evsd, key: Path) -> None:
    shared_evsd.ok("create", "own", "--size", "1G", "--key", "test-key")
    said = refused(shared_evsd.pool_file("own"), key)
    assert ("itself" in said, "evsctl recover" in said) == (True, True)
