"""A full pool: who is told, when, and that the advice keeps what a filesystem has synced."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.daemon import Evsd, Object, running_evsd, until
from tests.support.filesystem import fill
from tests.support.transfer import small_pool


@pytest.fixture(scope="module")
def small() -> Iterator[Evsd]:
    """An evsd whose pool has 100 MiB."""
    with small_pool(100) as (pool, config), running_evsd("--config", str(config)) as evsd:
        evsd.pool = pool
        evsd.prepare()
        yield evsd


@contextmanager
def mounted(device: str, directory: Path) -> Iterator[Path]:
    subprocess.run(["mount", "-o", "commit=300", device, directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)


def write_and_sync_until_refused(directory: Path) -> dict[str, bytes]:
    """Files by their names, each of which fsync has promised."""
    synced: dict[str, bytes] = {}
    with suppress(OSError):
        while True:
            path, content = directory / f"f{len(synced)}", os.urandom(100_000)
            with path.open("wb", buffering=0) as file:
                file.write(content)
                os.fsync(file.fileno())
            synced[path.name] = content
    return synced


def levels(evsd: Evsd) -> list[str]:
    """What the log says of the pool's filesystem, in order."""
    lines = evsd.log.read_text().rpartition("\n")[0].splitlines()
    found = (re.search('"event": "a filesystem (is|has) ([a-z -]+)"', line) for line in lines)
    return [match[2] for match in found if match]


def test_the_advice_given_keeps_every_file_that_was_synced(small: Evsd, tmp_path: Path) -> None:
    evsd, ballast = small, small.pool / "ballast"
    evsd.ok("create", "data", "--size", "1G")
    device = evsd.ok("attach", "data", "--transport", "fuse")
    subprocess.run(["mkfs.ext4", "-q", device], check=True)
    ballast.write_bytes(bytes(40 * 2**20))
    with mounted(device, tmp_path):
        synced = write_and_sync_until_refused(tmp_path)
    assert len(synced) > 50
    shown = evsd.ok("show", "data")
    assert re.search(f"^next .*pool {evsd.pool} is full.*: free space first, before", shown, re.M)
    refused = evsd.ctl("detach", "data")
    assert (refused.status, "could not be flushed" in refused.err) == (1, True), refused
    assert f"pool {evsd.pool} is full" in refused.err
    assert "free space first" in refused.err
    assert "then detach with --force" in refused.err
    ballast.unlink()  # as advised
    assert evsd.ctl("detach", "data").status == 1  # what was refused is not there now
    forced = evsd.ctl("detach", "data", "--force")
    assert (forced.status, "could not be flushed" in forced.err) == (0, True), forced
    device = evsd.ok("attach", "data", "--transport", "fuse")
    with mounted(device, tmp_path):
        kept = {path.name: path.read_bytes() for path in tmp_path.glob("f*")}
    subprocess.run(["e2fsck", "-f", "-n", device], check=True, capture_output=True)
    assert {name: kept.get(name) for name in synced} == synced
    evsd.ok("detach", "data")
    evsd.ok("delete", "data", "--yes")


def test_attach_warns_before_a_filesystem_replays_its_journal(small: Evsd) -> None:
    evsd, ballast = small, small.pool / "ballast"
    evsd.ok("create", "data", "--size", "1G")
    fill(ballast)
    done = evsd.ctl("--output", "json", "attach", "data", "--transport", "uri")
    assert (done.status, f"pool {evsd.pool} is full" in done.err) == (0, True), done
    assert "free space first" in done.err
    assert '"attachment"' in done.out
    evsd.ok("detach", "data")
    quiet = evsd.ctl("attach", "data", "--transport", "uri", "--read-only")
    assert (quiet.status, quiet.err) == (0, "")
    evsd.ok("detach", "data")
    ballast.unlink()
    quiet = evsd.ctl("attach", "data", "--transport", "uri")
    assert (quiet.status, quiet.err) == (0, "")
    evsd.ok("detach", "data")
    evsd.ok("delete", "data", "--yes")


def test_the_alarm_is_raised_before_the_pool_is_full_and_once(small: Evsd) -> None:
    evsd, ballast = small, small.pool / "ballast"
    until(lambda: levels(evsd)[-1:] in ([], ["space again"]))
    before = len(levels(evsd))
    ballast.write_bytes(bytes(92 * 2**20))
    until(lambda: levels(evsd)[before:] == ["low on space"])  # nobody has asked
    assert "low on space" in evsd.ok("status")
    assert evsd.object("pool")["pools"][0]["capabilities"]["space_state"] == "low"
    fill(ballast)
    assert "is full" in evsd.ok("status")
    assert re.search("^state +full$", evsd.ok("pool"), re.M)
    ballast.unlink()
    assert re.search("^pool +ok,", evsd.ok("status"), re.M)
    assert levels(evsd)[before:] == ["low on space", "full", "space again"]
    [full] = evsd.events("a filesystem is full")[-1:]
    assert (full["of"], full["directory"]) == ("pool", str(evsd.pool))
    assert "free space first" in full["remedy"]


def test_the_pool_shows_what_it_has_and_what_is_promised(small: Evsd) -> None:
    small.ok("create", "data", "--size", "2G")
    [pool] = small.object("pool")["pools"]
    capabilities: Object = pool["capabilities"]
    found = os.statvfs(small.pool)
    assert capabilities["total_capacity_gb"] == round(found.f_blocks * found.f_frsize / 2**30, 2)
    assert capabilities["provisioned_capacity_gb"] == 2
    assert capabilities["overcommit_ratio"] == pytest.approx(20.48, abs=0.01)
    shown = small.ok("pool")
    assert re.search(r"^promised +2G.* 20\.48 of the capacity$", shown, re.M), shown
    small.ok("delete", "data", "--yes")


def test_a_thin_volume_that_its_pool_can_not_hold_is_made_with_a_warning(small: Evsd) -> None:
    done = small.ctl("--output", "json", "create", "huge", "--size", "100G")
    assert (done.status, "volume huge is thin and has 100 GiB" in done.err) == (0, True)
    assert '"status": "available"' in done.out
    done = small.ctl("extend", "huge", "--size", "200G")
    assert (done.status, "has 200 GiB, its pool has" in done.err) == (0, True), done
    small.ok("delete", "huge", "--yes")


def test_a_thin_volume_that_its_pool_can_hold_is_made_without_a_word(evsd: Evsd) -> None:
    evsd.prepare()
    done = evsd.ctl("create", "data", "--size", "1G")
    assert (done.status, done.err) == (0, "")
    with evsd.http() as http:
        wanted = {"volume": {"name": "more", "size": 1}}
        answer = http.post(f"/v2.1/{evsd.project_id()}/cloudvolumes", json=wanted).json()
    assert list(answer) == ["job_id"]  # exactly as published


def test_status_of_an_evsd_that_does_not_run_says_so(evsd: Evsd) -> None:
    assert re.search("^evsd +runs", evsd.ok("status"), re.M)
    assert re.search("^keys +usable$", evsd.ok("status"), re.M)
    evsd.kill()  # its socket is left
    down = evsd.ctl("status")
    assert (down.status, "can't be reached" in down.err) == (1, True)
    assert "attached volumes go on" in down.err
    evsd.socket.unlink()
    assert evsd.ctl("status").status == 1
