"""What an administrator added to a header with stock cryptsetup survives all that evsd does.

Above all the emergency passphrase: for the day when the KMS is gone.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from evsd.pools.file import FilePool
from evsd.pools.pool import HeaderInvalid, Untouched
from tests.support.administrator import (
    QUICK,
    NotOurs,
    add_passphrase,
    cryptsetup,
    do_everything,
    not_ours,
)
from tests.support.daemon import Evsd
from tests.support.killed import kill_at
from tests.support.nbd import decrypted_sector, works
from tests.support.transfer import MIB, attached, luks_segment, opens, volume_key
from tests.support.volume import create, new_header

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "volumes.md"


@dataclass(frozen=True)
class Touched:
    """A thick volume to whose header an administrator has added all there is."""

    evsd: Evsd
    file: Path
    passphrase: Path
    added: NotOurs

    def has_it_all(self) -> None:
        assert not_ours(self.file) == self.added
        assert opens(self.file, self.passphrase)


@pytest.fixture(scope="module")
def touched(shared_evsd: Evsd, tmp_path_factory: pytest.TempPathFactory) -> Touched:
    shared_evsd.ok("create", "touched", "--size", "1G", "--thick", "--key", "test-key")
    file = shared_evsd.pool_file("touched")
    directory = tmp_path_factory.mktemp("administrator")
    passphrase = do_everything(file, shared_evsd.data_key("touched"), directory)
    return Touched(shared_evsd, file, passphrase, not_ours(file))


def write(touched: Touched, _: Path) -> None:
    with attached(touched.evsd, "touched") as uri:
        works(uri, "write -P 7 0 4k", "write -z 1M 1M", "discard 2M 1M", "flush")


def export(touched: Touched, directory: Path) -> None:
    touched.evsd.ok("export", "touched", str(directory / "raw"), "--format", "raw")
    (directory / "raw").unlink()


def rename(touched: Touched, _: Path) -> None:
    with touched.evsd.http() as http:
        path = f"/v2/{touched.evsd.project_id()}/cloudvolumes/{touched.file.stem}"
        for name in ("renamed", "touched"):
            assert http.put(path, json={"volume": {"name": name}}).status_code == 200


def fail_to_extend(touched: Touched, _: Path) -> None:
    touched.evsd.ok("key", "disable", "test-key", "--yes")
    assert touched.evsd.ctl("extend", "touched", "--size", "2G").status == 1
    touched.evsd.ok("key", "enable", "test-key")
    assert luks_segment(touched.file)["size"] == str(1024 * MIB)


def extend(touched: Touched, _: Path) -> None:
    touched.evsd.ok("extend", "touched", "--size", "2G")
    assert luks_segment(touched.file)["size"] == str(2048 * MIB)


def recover(touched: Touched, _: Path) -> None:
    touched.evsd.restarted_with("DELETE FROM volumes WHERE name = 'touched'")
    touched.evsd.ok("recover", touched.file.name, "touched")


@pytest.mark.parametrize("operation", [write, export, rename, fail_to_extend, extend, recover])
def test_it_survives(
    touched: Touched, operation: Callable[[Touched, Path], None], tmp_path: Path
) -> None:
    operation(touched, tmp_path)
    touched.has_it_all()


def test_the_passphrase_gives_the_data_of_the_volume(touched: Touched) -> None:
    with attached(touched.evsd, "touched") as uri:
        works(uri, "write -P 0x5a 40k 4k", "flush")
    key = volume_key(touched.file, touched.passphrase)
    assert decrypted_sector(touched.file, key, 10) == b"\x5a" * 4096


def test_a_deleted_volume_is_not_opened_by_the_passphrase_even_with_a_copy_of_its_header(
    touched: Touched, tmp_path: Path
) -> None:
    touched.evsd.ok("create", "deleted", "--size", "1G", "--thick", "--key", "test-key")
    file, left = touched.evsd.pool_file("deleted"), touched.evsd.pool / "left"
    passphrase = do_everything(file, touched.evsd.data_key("deleted"), tmp_path)
    header = _head(file, 32768)
    left.hardlink_to(file)
    touched.evsd.ok("delete", "deleted", "--yes")
    assert _head(left, MIB) == bytes(MIB)
    with left.open("r+b") as stream:
        stream.write(header)
    assert not opens(left, passphrase)
    left.unlink()


def test_a_passphrase_is_added_as_the_documents_say(shared_evsd: Evsd, tmp_path: Path) -> None:
    shared_evsd.ok("create", "documented", "--size", "1G", "--thick", "--key", "test-key")
    file, passphrase = shared_evsd.pool_file("documented"), tmp_path / "passphrase"
    passphrase.write_text("in an emergency")
    section = DOCUMENT.read_text().split("## An emergency passphrase")[1]
    script = section.split("```sh\n")[1].split("```")[0]
    environment = {
        "PATH": f"{shared_evsd.evsctl.parent}:{os.environ['PATH']}",
        "EVSD_ENDPOINT": f"unix://{shared_evsd.socket}",
        "FILE": str(file),
    }
    script = script.replace("PASSPHRASE-FILE", f"{' '.join(QUICK)} {passphrase}")
    subprocess.run(["bash", "-ec", script], env=environment, check=True)
    assert opens(file, passphrase)
    shared_evsd.ok("delete", "documented", "--yes")


def _head(file: Path, length: int) -> bytes:
    with file.open("rb") as stream:
        return stream.read(length)


# Interrupted anywhere. By the pool itself, on small files.

GROWING = """
import sys
from pathlib import Path
from evsd.pools.file import FilePool
pool, volume = FilePool(Path(sys.argv[1])), sys.argv[2]
pool.grow(volume, 8 << 20, 16 << 20, again=True)
pool.settle(volume)
"""


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, Path]:
    """The file of a thick volume of 8 MiB with everything in its header, and its passphrase."""
    dek = os.urandom(64)
    header = new_header(dek, 8 * MIB, thin=False)
    file = tmp_path / f"{header.uuid}.luks"
    create(file, header)
    return file, do_everything(file, dek, tmp_path)


@pytest.mark.parametrize("ended_by", ["settle", "shrink"])
@pytest.mark.parametrize("moment", [f"pwrite64:{n}" for n in range(1, 5)] + ["fsync:3"])
def test_it_survives_an_extension_that_is_killed_and_ended(
    small: tuple[Path, Path], moment: str, ended_by: str
) -> None:
    file, passphrase = small
    before = not_ours(file)
    pool = FilePool(file.parent)
    growing = [sys.executable, "-c", GROWING, str(file.parent), file.stem]
    kill_at(moment, growing)
    assert opens(file, passphrase)
    assert not_ours(file) == before
    if ended_by == "settle":
        pool.grow(file.stem, 8 * MIB, 16 * MIB, again=True)
        pool.settle(file.stem)
    else:
        pool.shrink(file.stem)
    assert opens(file, passphrase)
    assert not_ours(file) == before


def test_a_header_without_room_for_an_extension_is_refused_and_as_it_was(
    small: tuple[Path, Path],
) -> None:
    file, _ = small
    filling = file.with_name("filling")
    for length in (4000, 2000, 500, 100, 10, 1):  # as much as cryptsetup itself lets in
        while True:
            filling.write_text(f'{{"type":"{"x" * length}","keyslots":[]}}')
            try:
                cryptsetup("token", "import", "--json-file", filling, file)
            except AssertionError:
                break
    before, length = _head(file, MIB), file.stat().st_size
    with pytest.raises(Exception, match="has no room"):
        FilePool(file.parent).grow(file.stem, 8 * MIB, 16 * MIB)
    FilePool(file.parent).shrink(file.stem)
    assert (_head(file, MIB), file.stat().st_size) == (before, length)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--init-only",), "online-reencrypt"),
        (("--force-offline-reencrypt",), "has no key for what was reencrypted"),
    ],
    ids=["begun", "ended"],
)
def test_a_volume_that_cryptsetup_reencrypts_is_refused_by_name_and_as_it_was(
    tmp_path: Path, words: tuple[str, ...], reason: str
) -> None:
    dek = os.urandom(64)
    header = new_header(dek, 8 * MIB, thin=False)
    file = tmp_path / f"{header.uuid}.luks"
    create(file, header)
    passphrase = add_passphrase(file, dek, tmp_path)
    cryptsetup("reencrypt", *words, *QUICK, "--key-file", passphrase, file)
    before = file.read_bytes()
    with pytest.raises(HeaderInvalid, match=reason):
        FilePool(tmp_path).header(file.stem)
    with pytest.raises(Untouched) as refused:
        FilePool(tmp_path).grow(file.stem, 8 * MIB, 16 * MIB)
    assert reason in str(refused.value.cause)
    assert file.read_bytes() == before
