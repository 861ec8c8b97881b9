"""Extending volumes: the data stays, the header follows, and no crash leaves anything between."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from nbd_plugin import luks2
from tests.support.administrator import rewritten, taken
from tests.support.daemon import Evsd, Object, running_evsd, until
from tests.support.filling import job
from tests.support.killed import kill_at
from tests.support.nbd import connected, works
from tests.support.transfer import GIB, MIB, attached, holes, luks_segment, small_pool
from tests.support.volume import create, new_header


def extend(evsd: Evsd, volume: str, size: object) -> tuple[int, Object]:
    """The published call."""
    volume_id = evsd.object("show", volume)["volume"]["id"]
    with evsd.http() as http:
        path = f"/v2.1/{evsd.project_id()}/cloudvolumes/{volume_id}/action"
        answer = http.post(path, json={"os-extend": {"new_size": size}})
    return answer.status_code, answer.json()


def test_a_thin_volume_keeps_its_data_and_grows_with_zeros(shared_evsd: Evsd) -> None:
    shared_evsd.ok("create", "thin", "--size", "1G", "--key", "test-key")
    with attached(shared_evsd, "thin") as uri:
        works(uri, "write -P 7 0 4k", "write -P 8 1023M 1M")
    shown = shared_evsd.object("extend", "thin", "--size", "3G")["volume"]
    assert (shown["size"], shown["status"]) == (3, "available")
    with attached(shared_evsd, "thin") as uri:
        works(uri, "read -P 7 0 4k", "read -P 8 1023M 1M", "read -P 0 1G 1G", "read -P 0 2G 1G")
        works(uri, f"write -P 9 {3 * GIB - 512} 512", f"read -P 9 {3 * GIB - 512} 512")


def test_both_copies_of_the_header_grow(shared_evsd: Evsd) -> None:
    shared_evsd.ok("create", "copies", "--size", "1G", "--key", "test-key")
    shared_evsd.ok("extend", "copies", "--size", "2G")
    file = shared_evsd.pool_file("copies")
    assert luks_segment(file)["size"] == str(2 * GIB)
    with file.open("r+b") as stream:  # only the second copy is left
        stream.write(bytes(16384))
    assert luks_segment(file)["size"] == str(2 * GIB)


def test_a_thick_volume_grows_by_ciphertext(shared_evsd: Evsd) -> None:
    shared_evsd.ok("create", "thick", "--size", "1G", "--thick", "--key", "test-key")
    with attached(shared_evsd, "thick") as uri:
        works(uri, "write -P 7 0 4k", "write -P 8 1023M 1M")
    shared_evsd.ok("extend", "thick", "--size", "2G")
    assert holes(shared_evsd.pool_file("thick"), MIB + GIB) == 0
    with attached(shared_evsd, "thick") as uri:
        works(uri, "read -P 7 0 4k", "read -P 8 1023M 1M", "read -P 0 1G 1G")
    shared_evsd.ok("delete", "thick", "--yes")


def test_an_attached_volume_grows_and_who_connects_next_sees_it(shared_evsd: Evsd) -> None:
    shared_evsd.ok("create", "used", "--size", "1G", "--key", "test-key")
    with attached(shared_evsd, "used") as uri:
        works(uri, "write -P 7 0 4k", "write -P 8 1023M 1M")
        [server] = shared_evsd.server_pids()
        extended = shared_evsd.ctl("--output", "json", "extend", "used", "--size", "3G")
        assert (extended.status, extended.err) == (0, "")
        shown = shared_evsd.object("show", "used")["volume"]
        assert (shown["size"], shown["status"]) == (3, "in-use")
        works(
            uri, "read -P 7 0 4k", "read -P 8 1023M 1M", "read -P 0 1G 64M", "write -P 9 3071M 1M"
        )
        assert shared_evsd.server_pids() == [server]
    assert luks_segment(shared_evsd.pool_file("used"))["size"] == str(3 * GIB)
    with attached(shared_evsd, "used") as uri:
        works(uri, "read -P 7 0 4k", "read -P 9 3071M 1M")


def test_who_is_connected_goes_on_with_the_old_size_and_that_is_said(shared_evsd: Evsd) -> None:
    shared_evsd.ok("create", "held", "--size", "1G", "--key", "test-key")
    with attached(shared_evsd, "held") as uri:
        with connected(uri) as client:
            client.pwrite(b"7" * 4096, 0)
            [server] = shared_evsd.server_pids()
            extended = shared_evsd.ctl("extend", "held", "--size", "2G")
            assert (extended.status, "when it connects again" in extended.err) == (0, True)
            assert str(os.getpid()) in extended.err
            client.pwrite(b"8" * 4096, GIB - 4096)
            assert client.get_size() == GIB
            with connected(uri) as second:
                assert second.get_size() == 2 * GIB
        works(uri, f"read -P {ord('7')} 0 4k", f"read -P {ord('8')} {GIB - 4096} 4k")
        works(uri, "write -P 9 2047M 1M")
        assert shared_evsd.server_pids() == [server]


def test_a_thick_volume_has_to_be_detached_to_be_extended(shared_evsd: Evsd) -> None:
    shared_evsd.ok("create", "full", "--size", "1G", "--thick", "--key", "test-key")
    with attached(shared_evsd, "full"):
        refused = shared_evsd.ctl("extend", "full", "--size", "2G")
        assert (refused.status, "EVS.1048" in refused.err) == (1, True)
        assert "evsctl detach full" in refused.err
        shown = shared_evsd.object("show", "full")["volume"]
        assert (shown["size"], shown["status"]) == (1, "in-use")
    shared_evsd.ok("delete", "full", "--yes")


def test_an_attached_volume_whose_file_refuses_is_as_it_was(shared_evsd: Evsd) -> None:
    shared_evsd.ok("create", "refusing", "--size", "1G", "--key", "test-key")
    with attached(shared_evsd, "refusing") as uri:
        works(uri, "write -P 7 0 4k")
        file = shared_evsd.pool_file("refusing")
        kept = Kept.of(file)
        damage(file)
        status, answer = extend(shared_evsd, "refusing", 2)
        assert (status, answer["error"]["code"]) == (500, "EVS.5500")
        shown = shared_evsd.object("show", "refusing")["volume"]
        assert (shown["status"], shown["size"]) == ("in-use", 1)
        kept.put_back()
        status, _ = extend(shared_evsd, "refusing", 2)
        assert status == 200
        works(uri, "read -P 7 0 4k", "read -P 0 2047M 1M")


@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_extension_of_an_attached_volume_that_was_killed_is_finished(
    evsd: Evsd, moment: str
) -> None:
    """Before its file has grown or after, with a client all the time, or detached at the start."""
    evsd.prepare()
    evsd.ok("create", "data", "--size", "1G", "--key", "test-key")
    uri = evsd.ok("attach", "data", "--transport", "uri")
    with connected(uri) as client:
        client.pwrite(b"7" * 4096, 0)
        status, answer = extend(evsd, "data", 2)
        assert status == 200
        if moment == "before":
            file = evsd.pool_file("data")
            rewritten(file, lambda area: area["segments"]["0"].update(size=str(GIB)), settled=GIB)
        evsd.restarted_with(
            "UPDATE volumes SET status = 'extending', size_gib = 1",
            "UPDATE jobs SET status = 'RUNNING', end_at = NULL, arguments = '{\"served\": true}'"
            " WHERE type = 'extendVolume'",
        )
        shown = evsd.object("show", "data")["volume"]
        assert (shown["size"], shown["status"]) == (2, "in-use")
        assert job(evsd, answer["job_id"])["status"] == "SUCCESS"
        assert client.pread(4096, 0) == b"7" * 4096
    works(uri, f"read -P {ord('7')} 0 4k", "write -P 9 2047M 1M")
    evsd.ok("detach", "data")
    assert evsd.object("show", "data")["volume"]["status"] == "available"


@pytest.mark.parametrize(
    ("size", "code"),
    [(1, "EVS.1015"), (0, "EVS.1010"), (32769, "EVS.1010"), ("2", "EVS.1010"), (None, "EVS.1010")],
)
def test_a_size_that_is_not_larger_or_no_size_is_refused(
    shared_evsd: Evsd, size: object, code: str
) -> None:
    name = f"size-{uuid.uuid4()}"
    shared_evsd.ok("create", name, "--size", "1G", "--key", "test-key")
    status, body = extend(shared_evsd, name, size)
    assert (status, body["error"]["code"]) == (400, code)


def test_an_extension_that_is_killed_is_finished_at_the_next_start(filling_slowly: Evsd) -> None:
    evsd = filling_slowly
    evsd.ok("create", "data", "--size", "1G", "--thick", "--key", "test-key")
    with attached(evsd, "data") as uri:
        works(uri, "write -P 7 0 4k", "write -P 8 1023M 1M")
    status, answer = extend(evsd, "data", 2)
    assert status == 200
    until(evsd.server_pids)
    with evsd.servers_halted():
        assert evsd.object("show", "data")["volume"]["status"] == "extending"
        evsd.kill()
    evsd.start()
    until(lambda: evsd.object("show", "data")["volume"]["status"] == "available")
    assert evsd.object("show", "data")["volume"]["size"] == 2
    with evsd.http() as http:
        job = http.get(f"/v1/{evsd.project_id()}/jobs/{answer['job_id']}").json()
    assert (job["status"], job["job_type"]) == ("SUCCESS", "extendVolume")
    assert holes(evsd.pool_file("data"), MIB + GIB) == 0
    with attached(evsd, "data") as uri:
        works(uri, "read -P 7 0 4k", "read -P 8 1023M 1M", "read -P 0 1G 1G")


def test_an_extension_the_pool_has_no_room_for_is_undone() -> None:
    with small_pool(1500) as (_, config), running_evsd("--config", str(config)) as evsd:
        evsd.ok("create", "data", "--size", "1G", "--thick", "--key", evsd.prepare())
        with attached(evsd, "data") as uri:
            works(uri, "write -P 7 0 4k")
        refused = evsd.ctl("extend", "data", "--size", "2G")
        assert (refused.status, "EVS.5500" in refused.err) == (1, True)
        shown = evsd.object("show", "data")["volume"]
        assert (shown["status"], shown["size"]) == ("available", 1)
        with attached(evsd, "data") as uri:
            works(uri, "read -P 7 0 4k")


def test_an_extension_under_a_disabled_key_is_undone(evsd: Evsd) -> None:
    evsd.ok("create", "data", "--size", "1G", "--thick", "--key", evsd.prepare())
    evsd.ok("key", "disable", "test-key", "--yes")
    refused = evsd.ctl("extend", "data", "--size", "2G")
    assert (refused.status, "EVS.2040" in refused.err) == (1, True)
    shown = evsd.object("show", "data")["volume"]
    assert (shown["status"], shown["size"]) == ("available", 1)
    evsd.ok("key", "enable", "test-key")
    evsd.ok("extend", "data", "--size", "2G")


def hide(file: Path) -> None:
    file.rename(file.with_suffix(".away"))


def close(file: Path) -> None:
    """To evsd, which has no capabilities, whoever it runs as."""
    file.chmod(0)


def damage(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.write(os.urandom(32768))


def require(file: Path) -> None:
    rewritten(file, lambda area: area["config"]["requirements"]["mandatory"].append("thinner"))


def forget(file: Path) -> None:
    rewritten(file, lambda area: area["tokens"].clear())


def age(file: Path) -> None:
    """As if a header from before it had its size were put back; its file says no less."""
    rewritten(file, lambda area: area["segments"]["0"].update(size=str(64 * MIB)))


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (hide, "No such file"),
        (close, "Permission denied"),
        (damage, "no LUKS2 volume"),
        (require, "it needs thinner"),
        (forget, "its token was removed"),
        (age, "of different times"),
    ],
)
def test_a_volume_whose_file_refuses_to_be_extended_is_as_it_was(
    shared_evsd: Evsd, harm: Callable[[Path], None], reason: str
) -> None:
    name = f"refused-{uuid.uuid4()}"
    shared_evsd.ok("create", name, "--size", "1G", "--key", "test-key")
    with attached(shared_evsd, name) as uri:
        works(uri, "write -P 7 0 4k", "write -P 8 1023M 1M", "flush")
    file = shared_evsd.pool_file(name)
    kept = Kept.of(file)
    harm(file)
    length = file.stat().st_size if file.exists() else None
    status, answer = extend(shared_evsd, name, 2)
    assert (status, answer["error"]["code"]) == (500, "EVS.5500")
    assert reason in answer["error"]["message"]
    assert "was not extended, its file is as it was" in answer["error"]["message"]
    shown = shared_evsd.object("show", name)["volume"]
    assert (shown["status"], shown["size"]) == ("available", 1)
    assert length == (file.stat().st_size if file.exists() else None)
    kept.put_back()
    shared_evsd.ok("extend", name, "--size", "2G")
    with attached(shared_evsd, name) as uri:
        works(uri, "read -P 7 0 4k", "read -P 8 1023M 1M")


@dataclass(frozen=True)
class Kept:
    """A file's header, to undo a harm."""

    file: Path
    header: bytes

    @classmethod
    def of(cls, file: Path) -> Kept:
        with file.open("rb") as stream:
            return cls(file, stream.read(MIB))

    def put_back(self) -> None:
        away = self.file.with_suffix(".away")
        if away.exists():
            away.rename(self.file)
        self.file.chmod(0o600)
        with self.file.open("r+b") as stream:
            stream.write(self.header)


def test_a_volume_in_the_hands_of_cryptsetup_is_as_it_was(shared_evsd: Evsd) -> None:
    shared_evsd.ok("create", "taken", "--size", "1G", "--key", "test-key")
    with taken(shared_evsd.pool_file("taken")):
        refused = shared_evsd.ctl("extend", "taken", "--size", "2G")
    assert (refused.status, "in the hands of" in refused.err) == (1, True), refused
    shared_evsd.ok("extend", "taken", "--size", "2G")


def test_the_job_of_an_extension_that_was_refused_says_why(shared_evsd: Evsd) -> None:
    shared_evsd.ok("create", "job", "--size", "1G", "--thick", "--key", "test-key")
    damage(shared_evsd.pool_file("job"))
    status, answer = extend(shared_evsd, "job", 2)
    assert status == 200
    until(lambda: job(shared_evsd, answer["job_id"])["status"] != "RUNNING")
    ended = job(shared_evsd, answer["job_id"])
    assert ended["status"] == "FAIL"
    assert "evsctl header restore job FILE" in ended["fail_reason"]
    shared_evsd.ok("delete", "job", "--yes")


def test_a_disk_smaller_than_its_record_says_is_not_attached(shared_evsd: Evsd) -> None:
    """Its clients would lose what is behind: an old header was put back with cryptsetup."""
    shared_evsd.ok("create", "aged", "--size", "1G", "--key", "test-key")
    age(shared_evsd.pool_file("aged"))
    refused = shared_evsd.ctl("attach", "aged", "--transport", "uri")
    assert (refused.status, "from before it had 1 GiB" in refused.err) == (1, True), refused
    assert shared_evsd.object("show", "aged")["volume"]["status"] == "available"


def test_a_volume_whose_extension_could_not_be_undone_can_be_extended_again(evsd: Evsd) -> None:
    """Its data is whole: it must not be lost with it."""
    evsd.prepare()
    evsd.ok("create", "stuck", "--size", "1G", "--key", "test-key")
    with attached(evsd, "stuck") as uri:
        works(uri, "write -P 7 0 4k")
    file = evsd.pool_file("stuck")
    os.truncate(file, luks2.DATA_OFFSET + 2 * GIB)
    rewritten(file, lambda area: area["segments"]["0"].update(size=str(2 * GIB)), settled=GIB)
    evsd.restarted_with("UPDATE volumes SET status = 'error_extending'")
    for command in (("attach", "stuck", "--transport", "uri"),):
        refused = evsd.ctl(*command)
        assert (refused.status, "evsctl extend stuck --size" in refused.err) == (1, True), refused
    with taken(file):
        assert evsd.ctl("extend", "stuck", "--size", "2G").status == 1
    assert evsd.object("show", "stuck")["volume"]["status"] == "error_extending"
    shown = evsd.object("extend", "stuck", "--size", "2G")["volume"]
    assert (shown["status"], shown["size"]) == ("available", 2)
    with attached(evsd, "stuck") as uri:
        works(uri, "read -P 7 0 4k")


GROW = """
import sys
from pathlib import Path
from evsd.pools.file import FilePool
FilePool(Path(sys.argv[1])).grow(sys.argv[2], 64 << 20, int(sys.argv[3]), again=True)
"""


@pytest.mark.parametrize(
    "moment", ["ftruncate:1", "fsync:1", "pwrite64:1", "fsync:2", "pwrite64:2", "fsync:3"]
)
def test_a_kill_at_any_moment_of_growing_leaves_a_good_header(tmp_path: Path, moment: str) -> None:
    header = new_header(os.urandom(64), 64 * MIB)
    file = tmp_path / f"{header.uuid}.luks"
    create(file, header)
    grow = [sys.executable, "-c", GROW, str(tmp_path), header.uuid, str(128 * MIB)]
    kill_at(moment, grow)
    size = int(luks_segment(file)["size"])
    assert size in (64 * MIB, 128 * MIB)
    assert file.stat().st_size >= luks2.DATA_OFFSET + size
    subprocess.run(grow, check=True)
    assert luks_segment(file)["size"] == str(128 * MIB)


@pytest.mark.parametrize("size", ["2G", "3G", "4G"])
def test_a_record_from_an_old_backup_cuts_off_and_overwrites_nothing(evsd: Evsd, size: str) -> None:
    evsd.prepare()
    evsd.ok("create", "restored", "--size", "1G")
    evsd.ok("extend", "restored", "--size", "3G")
    with attached(evsd, "restored") as uri:
        works(uri, "write -P 5 2900M 4k", "flush")
    evsd.restarted_with("UPDATE volumes SET size_gib = 1")
    refused = evsd.ctl("extend", "restored", "--size", size)
    assert refused.status == 1
    assert "of different times" in refused.err
    assert evsd.object("show", "restored")["volume"]["status"] == "available"
    with attached(evsd, "restored") as uri:
        works(uri, "read -P 5 2900M 4k")
