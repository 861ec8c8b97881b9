"""A database from before there were users: its access keys go on."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator

import pytest
from alembic import command
from alembic.config import Config

from evsd.store.database import Database
from evsd.store.schema import MIGRATIONS
from tests.support.daemon import Evsd, running_evsd

NOW = "2026-01-01 00:00:00.000000"


@pytest.fixture(scope="module")
def evsd() -> Iterator[Evsd]:
    """One whose state is taken back to the first schema and started again."""
    with running_evsd("--http", "127.0.0.1:0") as running:
        yield running


def rows(database: sqlite3.Connection, table: str) -> list[dict[str, object]]:
    database.row_factory = sqlite3.Row
    return [dict(row) for row in database.execute(f"SELECT * FROM {table}")]  # noqa: S608


def take_back(evsd: Evsd) -> None:
    """Replace the database by one of the first schema with the same keys in it."""
    path = evsd.state / "evsd.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        content = {
            name: rows(database, name) for name in ("domains", "projects", "users", "access_keys")
        }
    for file in evsd.state.glob("evsd.db*"):
        file.unlink()
    old = Database(f"sqlite:///{path}")
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with old.engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.commit()
    old.close()
    names = {user["id"]: user["name"] for user in content["users"]}
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        for domain in content["domains"]:
            database.execute("INSERT INTO domains VALUES (?, ?)", [domain["id"], domain["name"]])
        for project in content["projects"]:
            given = [project[column] for column in ("id", "domain_id", "name", "region")]
            database.execute("INSERT INTO projects VALUES (?, ?, ?, ?)", given)
        for key in content["access_keys"]:
            database.execute(
                "INSERT INTO access_keys (access, domain_id, user_name, wrapped_secret,"
                " description, created_at) VALUES (?, ?, ?, ?, ?, ?)",
                [
                    key["access"],
                    content["domains"][0]["id"],
                    names[key["user_id"]],
                    key["wrapped_secret"],
                    key["description"],
                    NOW,
                ],
            )
        database.execute(
            "INSERT INTO access_keys (access, domain_id, user_name, wrapped_secret,"
            " description, created_at) VALUES ('GONE', ?, 'somebody', x'00', '', ?)",
            [content["domains"][0]["id"], NOW],
        )
    for file in evsd.state.glob("evsd.db*"):
        file.chmod(0o666)


def test_an_access_key_by_name_becomes_its_users(evsd: Evsd) -> None:
    pair = json.loads(evsd.ok("--output", "json", "access-key", "create"))["credential"]
    project = evsd.project_id()
    evsd.stop()
    take_back(evsd)
    evsd.start()
    signed = {
        "EVSD_ENDPOINT": evsd.url(),
        "EVSD_ACCESS_KEY": pair["access"],
        "EVSD_SECRET_KEY": pair["secret"],
    }
    listed = evsd.ctl("--output", "json", "access-key", "list", environment=signed)
    assert listed.status == 0, listed
    found = json.loads(listed.out)["credentials"][0]
    users = {user["name"]: user for user in evsd.object("user", "list")["users"]}
    assert (found["access"], found["user_id"]) == (pair["access"], users["root"]["id"])
    assert evsd.project_id() == project


def test_whoever_the_settings_do_not_name_stays_nobody(evsd: Evsd) -> None:
    somebody = evsd.object("user", "show", "somebody")["user"]
    assert somebody["enabled"] is False
