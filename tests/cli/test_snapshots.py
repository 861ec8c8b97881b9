"""evsctl snapshot and usage."""

from __future__ import annotations

import pytest

from tests.support.daemon import Evsd, Object, until
from tests.support.nbd import works
from tests.support.snapshots import files_of
from tests.support.transfer import attached


def volume(evsd: Evsd, name: str) -> str:
    """A new one; returns its id."""
    made: Object = evsd.object("create", name, "--size", "1G", "--key", "test-key")["volume"]
    return str(made["id"])


def usage(evsd: Evsd, name: str) -> Object:
    [found] = evsd.object("usage", name)["volumes"]
    return dict(found)


def test_a_snapshot_is_taken_shown_renamed_and_deleted(shared_evsd: Evsd) -> None:
    volume_id = volume(shared_evsd, "simple")
    words = ("--name", "monday", "--description", "before", "--tag", "of=me")
    made = shared_evsd.object("snapshot", "create", "simple", *words)["snapshot"]
    assert (made["name"], made["description"], made["tags"]) == ("monday", "before", {"of": "me"})
    assert (made["volume_id"], made["status"], made["encrypted"]) == (volume_id, "available", True)
    card = shared_evsd.ok("snapshot", "show", "monday")
    assert f"simple ({volume_id})" in card
    assert "test-key" in card
    shared_evsd.ok("snapshot", "rename", "monday", "tuesday")
    listed = shared_evsd.ok("snapshot", "list", "simple")
    assert "tuesday" in listed.splitlines()[1]
    assert shared_evsd.ok("snapshot", "delete", made["id"], "--yes") == "snapshot tuesday is gone"
    assert "no snapshots" in shared_evsd.ok("snapshot", "list", "simple")


def test_a_volume_is_rolled_back_when_that_is_confirmed(shared_evsd: Evsd) -> None:
    volume(shared_evsd, "back")
    with attached(shared_evsd, "back") as uri:
        works(uri, "write -P 1 0 64k")
    shared_evsd.ok("snapshot", "create", "back", "--name", "good")
    with attached(shared_evsd, "back") as uri:
        works(uri, "write -P 2 0 64k")
        refused = shared_evsd.ctl("snapshot", "rollback", "good", "--yes")
        assert (refused.status, "EVS.2043" in refused.err) == (1, True)
        assert "evsctl detach back" in refused.err
    unsaid = shared_evsd.ctl("snapshot", "rollback", "good")
    assert (unsaid.status, "Roll volume back back to snapshot good" in unsaid.err) == (2, True)
    with attached(shared_evsd, "back") as uri:
        works(uri, "read -P 2 0 64k")
    shared_evsd.ok("snapshot", "rollback", "good", "--yes")
    with attached(shared_evsd, "back") as uri:
        works(uri, "read -P 1 0 64k")


def test_snapshots_of_several_volumes_are_taken_together(shared_evsd: Evsd) -> None:
    names = ("one", "two", "three")
    ids = [volume(shared_evsd, name) for name in names]
    with attached(shared_evsd, "two") as uri:
        works(uri, "write -P 1 0 4k")
        made = shared_evsd.object("snapshot", "create", *names, "--name", "all")["snapshots"]
    assert {snapshot["volume_id"] for snapshot in made} == set(ids)
    assert {snapshot["status"] for snapshot in made} == {"available"}
    [group] = {snapshot["snapshot_group_id"] for snapshot in made}
    assert group
    ambiguous = shared_evsd.ctl("snapshot", "show", "all")
    assert (ambiguous.status, made[0]["id"] in ambiguous.err) == (1, True)


def test_where_one_of_several_volumes_is_missing_no_snapshot_is_taken(shared_evsd: Evsd) -> None:
    volume(shared_evsd, "there")
    refused = shared_evsd.ctl("snapshot", "create", "there", "missing")
    assert (refused.status, "EVS.5404" in refused.err) == (1, True)
    assert shared_evsd.object("snapshot", "list", "there")["snapshots"] == []


def test_usage_tells_what_each_snapshot_holds(shared_evsd: Evsd) -> None:
    volume_id = volume(shared_evsd, "used")
    with attached(shared_evsd, "used") as uri:
        works(uri, "write -P 1 0 8M")
    shared_evsd.ok("snapshot", "create", "used", "--name", "first")
    with attached(shared_evsd, "used") as uri:
        works(uri, "write -P 2 0 2M", "write -P 2 100M 1M")
    shared_evsd.ok("snapshot", "create", "used", "--name", "second")
    found = usage(shared_evsd, "used")
    mib = 2**20
    taken = {one["name"]: (one["used_bytes"], one["exclusive_bytes"]) for one in found["snapshots"]}
    assert taken["first"][0] // mib == 8
    assert taken["first"][1] // mib == 2
    assert taken["second"][0] // mib == 3
    assert taken["second"][1] == 0
    assert found["used_bytes"] == sum(
        path.stat().st_blocks * 512
        for path in map(shared_evsd.pool.joinpath, files_of(shared_evsd, volume_id))
    )
    card, table = shared_evsd.ok("show", "used"), shared_evsd.ok("usage", "used")
    assert "8.0M used, 2.0M of it exclusively" in card
    assert ["used", "first", "8.0M", "2.0M"] in [line.split() for line in table.splitlines()]
    [row] = [line for line in shared_evsd.ok("list").splitlines() if line.startswith("used ")]
    assert row.split()[2] == "11M"
    shared_evsd.ok("snapshot", "delete", "first", "--yes")
    until(lambda: usage(shared_evsd, "used")["used_bytes"] // mib == 9)


def test_what_a_deleted_snapshot_holds_of_an_attached_volume_is_told(shared_evsd: Evsd) -> None:
    volume(shared_evsd, "kept")
    with attached(shared_evsd, "kept") as uri:
        works(uri, "write -P 1 0 1M")
        shared_evsd.ok("snapshot", "create", "kept", "--name", "away")
        shared_evsd.ok("snapshot", "delete", "away", "--yes")
        assert usage(shared_evsd, "kept")["hidden_bytes"] // 2**20 == 1
        assert "(deleted)" in shared_evsd.ok("usage", "kept")
        assert "of deleted snapshots" in shared_evsd.ok("show", "kept")
    until(lambda: usage(shared_evsd, "kept")["hidden_bytes"] == 0)


@pytest.mark.parametrize("command", ["show", "delete", "rollback"])
def test_a_snapshot_that_is_not_there_is_named(shared_evsd: Evsd, command: str) -> None:
    words = ("--yes",) if command != "show" else ()
    refused = shared_evsd.ctl("snapshot", command, "nowhere", *words)
    assert (refused.status, "EVS.5404" in refused.err) == (1, True)
    assert "snapshot nowhere does not exist" in refused.err
    assert "evsctl snapshot list" in refused.err


def test_a_volume_is_made_from_a_snapshot(shared_evsd: Evsd) -> None:
    volume(shared_evsd, "source")
    with attached(shared_evsd, "source") as uri:
        works(uri, "write -P 1 0 64k")
    shared_evsd.ok("snapshot", "create", "source", "--name", "seed")
    made = shared_evsd.object("create", "plant", "--from-snapshot", "seed")["volume"]
    assert made["size"] == 1
    larger = shared_evsd.object("create", "tree", "--from-snapshot", "seed", "--size", "3G")
    assert larger["volume"]["size"] == 3
    for name in ("plant", "tree"):
        with attached(shared_evsd, name) as uri:
            works(uri, "read -P 1 0 64k", "write -P 2 0 4k")
    refused = shared_evsd.ctl("create", "bush", "--from-snapshot", "seed", "--key", "test-key")
    assert (refused.status, "EVS.1043" in refused.err) == (1, True)
