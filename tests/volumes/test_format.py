"""A volume's file, read by stock cryptsetup and by `cryptography`."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.daemon import Evsd
from tests.support.nbd import decrypted_sector, works

PATTERN = b"\xa5" * 4096


@dataclass
class Written:
    """A detached volume with a pattern in sectors 0 and 300, and its data key."""

    file: Path
    dek: bytes


@pytest.fixture(scope="module")
def written(shared_evsd: Evsd) -> Written:
    shared_evsd.ok("create", "format", "--size", "1G", "--key", "test-key")
    uri = shared_evsd.ok("attach", "format", "--transport", "uri")
    works(uri, "write -P 0xa5 0 4k", "write -P 0xa5 1200k 4k", "flush")
    file = shared_evsd.pool_file("format")
    shared_evsd.ok("detach", "format")
    return Written(file, shared_evsd.data_key("format"))


@pytest.mark.parametrize("sector", [0, 300])
def test_the_ciphertext_is_dm_crypts_aes_xts_plain64(written: Written, sector: int) -> None:
    assert decrypted_sector(written.file, written.dek, sector) == PATTERN


def test_cryptsetup_dumps_the_header(written: Written) -> None:
    dump = subprocess.run(
        ["cryptsetup", "luksDump", written.file], capture_output=True, text=True, check=True
    ).stdout
    assert written.file.stem in dump
    assert "aes-xts-plain64" in dump
    assert "sector: 4096" in dump
    assert "Requirements:" in dump


def test_cryptsetup_accepts_the_data_key_by_the_digest(written: Written, tmp_path: Path) -> None:
    assert opens(written.file, written.dek, tmp_path) == 0


def test_cryptsetup_refuses_another_data_key(written: Written, tmp_path: Path) -> None:
    assert opens(written.file, bytes(64), tmp_path) == 2


def opens(file: Path, dek: bytes, directory: Path) -> int:
    key_file = directory / "dek"
    key_file.write_bytes(dek)
    command = ["cryptsetup", "open", "--test-passphrase", "--key-size", "512"]
    return subprocess.run(
        [*command, "--volume-key-file", key_file, file], capture_output=True, check=False
    ).returncode


def test_a_new_volume_takes_no_space_but_its_header(shared_evsd: Evsd) -> None:
    shared_evsd.ok("create", "sparse", "--size", "100G")
    stat = shared_evsd.pool_file("sparse").stat()
    assert stat.st_size == 100 * 2**30 + 2**20
    assert stat.st_blocks * 512 <= 2**20


def test_every_volume_has_a_key_of_its_own(shared_evsd: Evsd, written: Written) -> None:
    shared_evsd.ok("create", "another", "--size", "1G", "--key", "test-key")
    assert shared_evsd.data_key("another") != written.dek


def test_deleting_leaves_no_file(shared_evsd: Evsd) -> None:
    shared_evsd.ok("create", "short-lived", "--size", "1G")
    file = shared_evsd.pool_file("short-lived")
    shared_evsd.ok("delete", "short-lived", "--yes")
    assert not file.exists()
