"""Records and files of different times: whatever the database says, no file loses data.

The backups are taken at the worst moment, in the middle of an operation that ends afterwards.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nbd_plugin import luks2
from tests.support.backup import back_up, restore
from tests.support.daemon import Evsd, until
from tests.support.filling import FILLING_SLOWLY, begin, job, under_way
from tests.support.killed import kill_at
from tests.support.nbd import connected, works
from tests.support.transfer import GIB, MIB, attached, luks_segment
from tests.support.volume import create, new_header
from tests.volumes.conftest import evsd_in_memory
from tests.volumes.test_extend import extend

DELETING = """
    UPDATE volumes SET status = 'deleting' WHERE name IN ('kept', 'given-up');
    INSERT INTO jobs (id, project_id, type, status, entities, begin_at)
    SELECT name, project_id, 'deleteVolume', 'RUNNING', json_object(
        'volume_id', id, 'name', name, 'size', size_gib, 'volume_type', volume_type
    ), created_at FROM volumes WHERE status = 'deleting';
"""


@dataclass(frozen=True, slots=True)
class Restored:
    """An evsd on a restored database, and what was done since the backup."""

    evsd: Evsd
    jobs: dict[str, str]  # that were under way, by the volume's name
    files: dict[str, Path]  # by the volume's name
    socket: str  # of `served`, which was attached since
    client: Any  # connected to it

    def status(self, volume: str) -> tuple[str, int]:
        shown = self.evsd.object("show", volume)["volume"]
        return shown["status"], shown["size"]

    def said(self, event: str) -> list[str]:
        """What evsd has logged under this name since it runs on the restored database."""
        log = self.evsd.log.read_text()
        last_start = log[log.rindex("the database was restored:") :]
        return [line for line in last_start.splitlines() if event in line]

    def holds(self, volume: str, *more: str) -> None:
        with attached(self.evsd, volume) as uri:
            works(uri, "read -P 7 0 4k", *more)


@pytest.fixture(scope="module")
def shared_evsd() -> Iterator[Evsd]:
    """As elsewhere, but it is met while it fills volumes."""
    with evsd_in_memory(*FILLING_SLOWLY) as running:
        running.prepare()
        yield running


@pytest.fixture(scope="module")
def restored(shared_evsd: Evsd) -> Iterator[Restored]:
    """The backup is from the middle of a creation and of an extension; both ended afterwards."""
    evsd, jobs = shared_evsd, {}
    evsd.ok("create", "grown", "--size", "1G", "--thick", "--key", "test-key")
    for name in ("served", "half", "old", "kept", "given-up"):
        evsd.ok("create", name, "--size", "1G", "--key", "test-key")
    evsd.ok("create", "larger", "--size", "1G", "--key", "test-key")
    jobs["made"], made = begin(evsd, "made", size=2)
    with under_way(evsd, jobs["made"]):
        jobs["grown"] = extend(evsd, "grown", 2)[1]["job_id"]
        with under_way(evsd, jobs["grown"]):
            backup = back_up(evsd)

    until(lambda: {job(evsd, job_id)["status"] for job_id in jobs.values()} == {"SUCCESS"})
    evsd.ok("extend", "made", "--size", "3G")
    evsd.ok("extend", "larger", "--size", "2G")
    evsd.ok("key", "rotate", "test-key")
    evsd.ok("create", "new", "--size", "1G", "--key", "test-key")
    files = {v["name"]: evsd.pool / f"{v['id']}.luks" for v in evsd.object("list")["volumes"]}
    for name in ("made", "grown", "half", "kept", "new"):
        with attached(evsd, name) as uri:
            works(uri, "write -P 7 0 4k", "flush")
    for name, offset in (("made", "3071M"), ("grown", "1536M")):
        with attached(evsd, name) as uri:
            works(uri, f"write -P 8 {offset} 1M", "flush")
    evsd.ok("delete", "old", "--yes")
    assert files["made"].stem == made
    uri = evsd.ok("attach", "served", "--transport", "uri")
    with connected(uri) as client:
        evsd.stop()
        files["given-up"].rename(files["given-up"].with_suffix(".deleting"))
        begin_to_extend(files["half"])
        with closing(sqlite3.connect(backup / "evsd.db")) as database:
            database.executescript(DELETING)
        restore(evsd, backup)
        yield Restored(evsd, jobs, files, uri.partition("socket=")[2], client)


def begin_to_extend(file: Path) -> None:
    """Leave a file of 1 GiB as an extension to 2 GiB does that is killed."""
    os.truncate(file, luks2.DATA_OFFSET + 2 * GIB)
    rewrite(file, size=2 * GIB, settled=GIB)


def rewrite(file: Path, **changes: int) -> None:
    with file.open("r+b") as stream:
        header = luks2.read(stream.fileno())
        luks2.write(stream.fileno(), header._replace(sequence=9, **changes))


def test_a_backup_from_the_middle_of_a_creation_takes_nothing_from_the_volume(
    restored: Restored,
) -> None:
    assert job(restored.evsd, restored.jobs["made"])["status"] == "SUCCESS"
    assert restored.status("made") == ("available", 3)
    restored.holds("made", "read -P 8 3071M 1M")


def test_a_backup_from_the_middle_of_an_extension_takes_nothing_from_the_volume(
    restored: Restored,
) -> None:
    until(lambda: job(restored.evsd, restored.jobs["grown"])["status"] != "RUNNING")
    assert job(restored.evsd, restored.jobs["grown"])["status"] == "SUCCESS"
    assert restored.status("grown") == ("available", 2)
    restored.holds("grown", "read -P 8 1536M 1M")


def test_what_an_extension_has_not_settled_is_not_written_to_before_it_is_finished(
    restored: Restored,
) -> None:
    """It may be thrown away: nobody may have data there."""
    assert restored.status("half") == ("available", 1)
    refused = restored.evsd.ctl("attach", "half", "--transport", "uri")
    assert (refused.status, "evsctl extend half --size 2G" in refused.err) == (1, True), refused
    restored.evsd.ok("extend", "half", "--size", "2G")
    restored.holds("half", "read -P 0 1G 4M")


def test_a_deletion_that_has_not_begun_is_not_begun_at_start(restored: Restored) -> None:
    failed = job(restored.evsd, "kept")
    assert (failed["status"], failed["error_code"]) == ("FAIL", "EVS.5500")
    assert "evsctl delete kept" in failed["fail_reason"]
    assert restored.status("kept") == ("available", 1)
    restored.holds("kept")


def test_a_deletion_that_has_begun_is_finished_at_start(restored: Restored) -> None:
    assert job(restored.evsd, "given-up")["status"] == "SUCCESS"
    assert "given-up" not in {v["name"] for v in restored.evsd.object("list")["volumes"]}
    assert not list(restored.evsd.pool.glob("*.deleting"))


def test_a_volume_in_the_hands_of_an_unknown_server_is_not_deleted_or_changed(
    restored: Restored,
) -> None:
    """Attached after the backup was made: no record tells of it."""
    evsd, client = restored.evsd, restored.client
    client.pwrite(b"7" * 4096, 0)
    for words in (("delete", "served", "--yes"), ("extend", "served", "--size", "2G")):
        refused = evsd.ctl(*words)
        assert (refused.status, "hands of a server" in refused.err) == (1, True), refused
        assert restored.status("served") == ("available", 1)
    assert client.pread(4096, 0) == b"7" * 4096


def test_evsd_says_at_start_what_has_no_file_and_what_no_record(restored: Restored) -> None:
    [missing] = restored.said("the file of a volume is missing")
    [foreign] = restored.said("is no volume's")
    assert restored.files["old"].name in missing
    assert restored.files["new"].name in foreign


def test_evsd_says_at_start_which_server_no_record_knows(restored: Restored) -> None:
    [stranger] = restored.said("a server that no attachment knows")
    assert restored.socket in stranger


def test_a_volume_has_the_size_that_its_file_says(restored: Restored) -> None:
    assert restored.status("larger") == ("available", 2)
    restored.evsd.ok("extend", "larger", "--size", "3G")


def test_a_volume_made_since_the_backup_under_a_newer_version_of_its_key_is_recovered(
    restored: Restored,
) -> None:
    restored.evsd.ok("recover", restored.files["new"].name, "new")
    restored.holds("new")


@pytest.fixture
def lost(shared_evsd: Evsd) -> Path:
    """The file of a thin volume whose record is lost, in an operation that was interrupted."""
    name = f"half-{os.urandom(4).hex()}"
    shared_evsd.ok("create", name, "--size", "1G", "--key", "test-key")
    file = shared_evsd.pool_file(name)
    owner, content = file.stat(), file.read_bytes()[: 2 * MIB]
    shared_evsd.ok("delete", name, "--yes")
    file.write_bytes(content)
    os.truncate(file, luks2.DATA_OFFSET + GIB)
    os.chown(file, owner.st_uid, owner.st_gid)
    return file


def test_the_file_of_a_creation_that_never_ended_is_no_volume(
    shared_evsd: Evsd, lost: Path
) -> None:
    rewrite(lost, settled=0)
    refused = shared_evsd.ctl("recover", lost.name)
    assert (refused.status, "never ended" in refused.err) == (1, True)
    lost.unlink()


def test_a_volume_whose_extension_never_ended_is_recovered_as_it_was_before(
    shared_evsd: Evsd, lost: Path
) -> None:
    begin_to_extend(lost)
    shown = shared_evsd.object("recover", lost.name)["volume"]
    assert (shown["status"], shown["size"]) == ("available", 1)
    assert luks_segment(lost)["size"] == str(GIB)
    with attached(shared_evsd, shown["id"]) as uri:
        works(uri, "read -P 0 1020M 4M")


DELETE = """
import sys
from pathlib import Path
from evsd.pools.file import FilePool
FilePool(Path(sys.argv[1])).delete(sys.argv[2])
"""


@pytest.mark.parametrize("moment", ["rename:1", "fsync:1", "write:1", "fsync:2", "unlink:2"])
def test_a_kill_at_any_moment_of_a_deletion_leaves_a_whole_volume_or_none(
    tmp_path: Path, moment: str
) -> None:
    header = new_header(os.urandom(64), MIB)
    file = tmp_path / f"{header.uuid}.luks"
    create(file, header)
    delete = [sys.executable, "-c", DELETE, str(tmp_path), header.uuid]
    kill_at(moment, delete)
    if file.exists():
        assert luks_segment(file)["size"] == str(MIB)
    subprocess.run(delete, check=True)
    assert list(tmp_path.iterdir()) == []
