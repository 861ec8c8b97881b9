"""Snapshots whose evsd is killed: each is whole or gone at its next start, and no byte is lost."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress

import httpx
import pytest

from nbd_plugin import luks2
from tests.support.daemon import Evsd, Object, until
from tests.support.killed import killing
from tests.support.nbd import works
from tests.support.snapshots import files_of
from tests.support.transfer import attached


def volume(evsd: Evsd, name: str) -> str:
    """A new one with something on it; returns its id."""
    made: Object = evsd.object("create", name, "--size", "1G", "--key", "test-key")["volume"]
    with attached(evsd, name) as uri:
        works(uri, "write -P 1 0 64k")
    return str(made["id"])


def ask(evsd: Evsd, method: str, path: str, body: Object | None = None) -> httpx.Response:
    with evsd.http() as http:
        return http.request(method, f"/v5/{evsd.project_id()}/snapshots{path}", json=body)


def killed_at(evsd: Evsd, moment: str, method: str, path: str, body: Object | None = None) -> None:
    """Evsd is killed in the middle of what it is asked for, and started again."""
    path = f"/v5/{evsd.project_id()}/snapshots{path}"
    with killing(evsd.pid, moment), evsd.http() as http, suppress(httpx.TransportError):
        http.request(method, path, json=body)
    evsd.wait()
    evsd.start()


def snapshots(evsd: Evsd, name: str) -> list[Object]:
    found: list[Object] = evsd.object("snapshot", "list", name)["snapshots"]
    return found


# What the records say when evsd ends in the middle.
TAKING = """
    UPDATE snapshots SET status = 'creating' WHERE id = :snapshot;
    UPDATE jobs SET status = 'RUNNING', end_at = NULL WHERE id = (
        SELECT id FROM jobs WHERE type = 'createSnapshot' ORDER BY begin_at DESC LIMIT 1
    )
"""
ROLLING_BACK = """
    UPDATE snapshots SET status = 'rollbacking' WHERE id = :snapshot;
    UPDATE volumes SET status = 'rollbacking'
        WHERE id = (SELECT volume_id FROM snapshots WHERE id = :snapshot);
    INSERT INTO jobs (id, project_id, type, status, entities, arguments, begin_at)
        SELECT hex(randomblob(16)), project_id, 'rollbackSnapshot', 'RUNNING', json_object(
            'snapshot_id', id, 'volume_id', volume_id, 'name', name, 'size', 1,
            'volume_type', 'SSD'
        ), json_object('top', :top), created_at FROM snapshots WHERE id = :snapshot
"""


def restarted_in(evsd: Evsd, middle: str, snapshot: str, top: str = "") -> None:
    """As if evsd had ended in the middle of something."""
    if evsd.running:
        evsd.stop()
    with closing(sqlite3.connect(evsd.state / "evsd.db")) as database, database:
        for statement in middle.split(";"):
            database.execute(statement, {"snapshot": snapshot, "top": top})
    evsd.start()


def top(evsd: Evsd, volume_id: str) -> str:
    """Which layer is written to."""
    with (evsd.pool / f"{volume_id}.luks").open("rb") as file:
        return luks2.read(file.fileno()).own_layer


# Its file is being made, is about to get its name; is frozen over, and is about to be exchanged.
@pytest.mark.parametrize(
    ("moment", "left"), [("ftruncate:1", 0), ("rename:1", 0), ("renameat2:1", 1)]
)
@pytest.mark.parametrize("served", [False, True], ids=["available", "attached"])
def test_a_snapshot_that_was_being_taken_is_whole_or_gone(
    shared_evsd: Evsd, moment: str, left: int, served: bool
) -> None:
    name = f"taken-{moment[:8].replace(':', '')}-{'attached' if served else 'available'}"
    volume_id = volume(shared_evsd, name)
    uri = shared_evsd.ok("attach", name, "--transport", "uri") if served else ""
    body = {"snapshot": {"volume_id": volume_id}}
    killed_at(shared_evsd, moment, "POST", "", body)
    until(lambda: [one["status"] for one in snapshots(shared_evsd, name)] == ["available"] * left)
    if served:
        works(uri, "read -P 1 0 64k", "write -P 2 0 4k")
        shared_evsd.ok("detach", name)
    else:
        with attached(shared_evsd, name) as again:
            works(again, "read -P 1 0 64k", "write -P 2 0 4k")
    until(lambda: len(files_of(shared_evsd, volume_id)) == 1 + left)
    for snapshot in snapshots(shared_evsd, name):
        shared_evsd.ok("snapshot", "rollback", snapshot["id"], "--yes")
    with attached(shared_evsd, name) as again:
        works(again, f"read -P {1 if left else 2} 0 4k", "read -P 1 4k 60k")
    shared_evsd.ok("delete", name, "--yes")
    assert files_of(shared_evsd, volume_id) == []


def test_a_snapshot_that_was_taken_and_not_noted_is_there(shared_evsd: Evsd) -> None:
    volume(shared_evsd, "noted")
    taken = shared_evsd.object("snapshot", "create", "noted")["snapshot"]["id"]
    restarted_in(shared_evsd, TAKING, taken)
    until(lambda: [one["status"] for one in snapshots(shared_evsd, "noted")] == ["available"])


# Its layer is about to be hidden; is hidden, and nothing else.
@pytest.mark.parametrize("moment", ["rename:1", "fsync:1"])
def test_a_snapshot_that_was_being_deleted_is_gone(shared_evsd: Evsd, moment: str) -> None:
    name = f"deleted-{moment[:-2]}"
    volume_id = volume(shared_evsd, name)
    first, second = (
        shared_evsd.object("snapshot", "create", name)["snapshot"]["id"] for _ in range(2)
    )
    with attached(shared_evsd, name) as uri:
        works(uri, "write -P 2 4k 4k")
    killed_at(shared_evsd, moment, "DELETE", f"/{first}")
    assert [one["id"] for one in snapshots(shared_evsd, name)] == [second]
    until(lambda: len(files_of(shared_evsd, volume_id)) == 2)
    with attached(shared_evsd, name) as uri:
        works(uri, "read -P 1 0 4k", "read -P 2 4k 4k", "read -P 1 8k 56k")


def test_a_volume_that_was_being_rolled_back_is_as_it_was(shared_evsd: Evsd) -> None:
    """The layer that is to take its place has no name yet."""
    volume_id = volume(shared_evsd, "back")
    snapshot = shared_evsd.object("snapshot", "create", "back")["snapshot"]["id"]
    with attached(shared_evsd, "back") as uri:
        works(uri, "write -P 2 0 4k")
    before = sorted(path.name for path in shared_evsd.pool.iterdir())
    body = {"rollback": {"volume_id": volume_id}}
    killed_at(shared_evsd, "renameat2:1", "POST", f"/{snapshot}/rollback", body)
    assert sorted(path.name for path in shared_evsd.pool.iterdir()) == before
    assert shared_evsd.object("show", "back")["volume"]["status"] == "available"
    assert [one["status"] for one in snapshots(shared_evsd, "back")] == ["available"]
    with attached(shared_evsd, "back") as uri:
        works(uri, "read -P 2 0 4k")
    shared_evsd.ok("snapshot", "rollback", snapshot, "--yes")
    with attached(shared_evsd, "back") as uri:
        works(uri, "read -P 1 0 64k")


@pytest.mark.parametrize("done", [True, False])
def test_a_roll_back_is_never_done_at_a_start(shared_evsd: Evsd, done: bool) -> None:
    """The database may be an old one, and the volume have been written to ever since."""
    name = f"old-{done}"
    volume_id = volume(shared_evsd, name)
    snapshot = shared_evsd.object("snapshot", "create", name)["snapshot"]["id"]
    with attached(shared_evsd, name) as uri:
        works(uri, "write -P 2 0 4k")
    before = top(shared_evsd, volume_id)
    shared_evsd.ok("snapshot", "rollback", snapshot, "--yes")
    with attached(shared_evsd, name) as uri:
        works(uri, "read -P 1 0 4k", "write -P 3 0 4k")
    now = before if done else top(shared_evsd, volume_id)
    restarted_in(shared_evsd, ROLLING_BACK, snapshot, now)
    assert shared_evsd.object("show", name)["volume"]["status"] == "available"
    assert [one["status"] for one in snapshots(shared_evsd, name)] == ["available"]
    with attached(shared_evsd, name) as uri:
        works(uri, "read -P 3 0 4k")


def test_a_roll_back_whose_volume_can_not_be_read_ends_in_error_and_is_tried_again(
    shared_evsd: Evsd,
) -> None:
    volume_id = volume(shared_evsd, "broken")
    snapshot = shared_evsd.object("snapshot", "create", "broken")["snapshot"]["id"]
    shared_evsd.stop()
    file = shared_evsd.pool / f"{volume_id}.luks"
    header = file.read_bytes()[: luks2.HEADER_LENGTH]
    with file.open("r+b") as stream:
        stream.write(bytes(len(header)))
    restarted_in(shared_evsd, ROLLING_BACK, snapshot, "unknown")
    assert shared_evsd.object("show", "broken")["volume"]["status"] == "error_rollbacking"
    refused = shared_evsd.ctl("attach", "broken", "--transport", "uri")
    assert (refused.status, "error_rollbacking" in refused.err) == (1, True)
    assert "evsctl snapshot rollback" in refused.err
    with file.open("r+b") as stream:
        stream.write(header)
    shared_evsd.ok("snapshot", "rollback", snapshot, "--yes")
    assert shared_evsd.object("show", "broken")["volume"]["status"] == "available"
    with attached(shared_evsd, "broken") as uri:
        works(uri, "read -P 1 0 64k")


def test_a_thick_volume_has_snapshots_and_volumes_of_them(shared_evsd: Evsd) -> None:
    shared_evsd.ok("create", "thick", "--size", "1G", "--thick", "--key", "test-key")
    with attached(shared_evsd, "thick") as uri:
        works(uri, "write -P 1 0 64k")
    shared_evsd.ok("snapshot", "create", "thick", "--name", "solid")
    with attached(shared_evsd, "thick") as uri:
        works(uri, "write -P 2 0 4k", "read -P 1 4k 60k", "read -P 0 1M 1M")
    clone = shared_evsd.object("create", "copied", "--from-snapshot", "solid")["volume"]
    assert clone["metadata"]["evsd:provisioning"] == "thick"
    with attached(shared_evsd, "copied") as uri:
        works(uri, "read -P 1 0 64k", "read -P 0 1M 1M", "write -P 3 0 4k")
    shared_evsd.ok("snapshot", "rollback", "solid", "--yes")
    with attached(shared_evsd, "thick") as uri:
        works(uri, "read -P 1 0 64k", "read -P 0 1M 1M", "write -P 4 500M 4k")
    for name in ("thick", "copied"):
        shared_evsd.ok("delete", name, "--yes")


def test_a_volume_is_extended_and_attached_while_a_deleted_snapshot_is_merged(
    shared_evsd: Evsd,
) -> None:
    """The merge gives way, and goes on afterwards."""
    volume_id = volume(shared_evsd, "merging")
    with attached(shared_evsd, "merging") as uri:
        works(uri, "write -P 1 0 400M")
    shared_evsd.ok("snapshot", "create", "merging", "--name", "large")
    with attached(shared_evsd, "merging") as uri:
        works(uri, "write -P 2 0 400M", "write -P 3 400M 4k")
    shared_evsd.ok("snapshot", "delete", "large", "--yes")
    for size in (2, 3, 4):
        shared_evsd.ok("extend", "merging", "--size", f"{size}G")
    with attached(shared_evsd, "merging") as uri:
        works(uri, "read -P 2 0 400M", "read -P 3 400M 4k", "read -P 0 3G 4k")
    until(lambda: len(files_of(shared_evsd, volume_id)) == 1)
    with attached(shared_evsd, "merging") as uri:
        works(uri, "read -P 2 0 400M", "read -P 3 400M 4k", "read -P 0 3G 4k")
    shared_evsd.ok("delete", "merging", "--yes")
