"""What hangs on a key, as the services that have it register it."""

from __future__ import annotations

import sqlite3
import uuid
from contextlib import closing

from evsd.audit.chain import newest_first
from tests.support.daemon import Evsd, until


def key_id_of(evsd: Evsd) -> str:
    return str(evsd.object("key", "show", "test-key")["key_info"]["key_id"])


def dependents(evsd: Evsd, key_id: str) -> list[tuple[str, str, str]]:
    """(kind, id, name) of each."""
    path = f"/v1.0/{evsd.project_id()}/kms/list-key-dependents"
    with evsd.http() as http:
        answer = http.post(path, json={"key_id": key_id}).raise_for_status().json()
    return [(thing["kind"], thing["id"], thing["name"]) for thing in answer["dependents"]]


def test_a_volume_hangs_on_its_key_by_its_name_of_today_until_it_is_deleted(
    shared_evsd: Evsd,
) -> None:
    evsd = shared_evsd
    key_id = key_id_of(evsd)
    made = [("create", name, "--size", "1G", "--key", "test-key") for name in ("one", "two")]
    for command in made:
        evsd.ok(*command)
    assert evsd.ctl(*made[1]).status == 1  # its name is taken: nothing hangs on the key for that
    ids = {name: evsd.object("show", name)["volume"]["id"] for name in ("one", "two")}
    both = [("volume", ids["two"], "two"), ("volume", ids["one"], "one")]
    assert dependents(evsd, key_id) == both
    evsd.ok("update", "one", "--description", "words")
    assert dependents(evsd, key_id) == both
    evsd.ok("update", "one", "--name", "first")
    evsd.ok("delete", "two", "--yes")
    assert dependents(evsd, key_id) == [("volume", ids["one"], "first")]
    evsd.ok("delete", "first", "--yes")
    assert dependents(evsd, key_id) == []


def test_what_hangs_on_a_key_that_is_not_ones_own_is_not_told(shared_evsd: Evsd) -> None:
    path = f"/v1.0/{shared_evsd.project_id()}/kms/list-key-dependents"
    with shared_evsd.http() as http:
        answer = http.post(path, json={"key_id": str(uuid.uuid4())})
    assert (answer.status_code, answer.json()["error"]["error_code"]) == (404, "KMS.0207")


def test_things_of_every_kind_are_told_of_when_their_key_goes(evsd: Evsd) -> None:
    """The KMS knows no kinds: what a later service registers is told of like volumes."""
    evsd.prepare()
    evsd.ok("create", "disk", "--size", "1G", "--key", "test-key")
    key_id, now = key_id_of(evsd), "2026-01-01 00:00:00.000000"
    with closing(sqlite3.connect(evsd.state / "evsd.db")) as database, database:
        image = ("image", "i-1", "debian", evsd.project_id(), key_id, now)
        database.execute("INSERT INTO key_dependents VALUES (?, ?, ?, ?, ?, ?)", image)
    asked = evsd.ctl("key", "disable", "test-key")
    assert asked.status == 2
    assert "volumes under key test-key: disk (available)" in asked.err
    assert "images under key test-key: debian" in asked.err
    evsd.ok("key", "schedule-deletion", "test-key", "--days", "7", "--yes")
    evsd.restarted_with()
    until(lambda: evsd.events("an image's key will be destroyed"))
    told, *_ = evsd.events("an image's key will be destroyed")
    assert (told["image"], told["name"], told["days_left"]) == ("i-1", "debian", 7)
    assert evsd.events("a volume's key will be destroyed")
    evsd.restarted_with(
        "UPDATE clock SET steady_since = datetime('now', '-2 days')",
        "UPDATE keys SET deletion_at = datetime('now', '-1 minute')",
    )
    until(lambda: evsd.ctl("key", "show", key_id).status == 1)
    records = newest_first(evsd.state / "audit.log")
    record = next(record for record in records if record["action"] == "destroy-key")
    assert record["context"]["image i-1"] == "debian"
    assert "disk" in record["context"].values()
