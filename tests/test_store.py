"""The metadata store: migrations and conditional changes."""

from __future__ import annotations

import re
import shutil
import sqlite3
import threading
import uuid
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, create_engine, select

import evsd.audit.tables
import evsd.jobs.tables  # noqa: F401 - they belong to the tables too
from evsd.key_channel.key_use import KeyUse
from evsd.processes import Process
from evsd.services import load_records
from evsd.services.evs.key_context import encryption_context
from evsd.services.evs.tables import Attachment, Volume
from evsd.services.evs.volumes.states import VOLUME_STATES, VolumeEvent
from evsd.services.iam.tables import Domain
from evsd.services.kms.consumers import dependents_of
from evsd.services.kms.tables import KeyRelease
from evsd.serving.tables import ServerRecord
from evsd.store.database import Database, utcnow
from evsd.store.schema import FRESH, MIGRATIONS, newest
from evsd.store.tables import History
from evsd.store.transitions import advance
from tests.support.records import add_volume
from tools.generate_docs import schema

Rows = list[tuple[str, list[dict[str, object]]]]  # of tables, by their names

SERVER = Process(4711, 12, "b")


def new_database(directory: Path) -> Database:
    database = Database(f"sqlite:///{directory}/evsd.db")
    database.migrate()
    return database


def migrations() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


def test_the_migrations_lead_to_the_tables_of_the_code(tmp_path: Path) -> None:
    load_records()
    database = new_database(tmp_path)
    config = migrations()
    with database.engine.connect() as connection:
        config.attributes["connection"] = connection
        command.check(config)


def test_migrations_have_one_end_and_names_that_nobody_else_gives() -> None:
    """Those of two branches are put in a row where the branches come together, see their README."""
    scripts = ScriptDirectory.from_config(migrations())
    assert len(scripts.get_heads()) == 1, "one has to come after the other: `down_revision`"
    named = {Path(script.path).stem: script.revision for script in scripts.walk_revisions()}
    by_date = {name for name in named if not re.match(r"00(0\d|1[0-3])_", name)}
    assert all(re.fullmatch(r"20\d{6}_[a-z_]+", name) and named[name] == name for name in by_date)


def test_a_new_database_is_what_the_migrations_lead_to() -> None:
    assert FRESH.read_text() == schema(), "run make docs"


def test_the_newest_migration_is_the_one_that_alembic_finds() -> None:
    assert [newest()] == ScriptDirectory.from_config(migrations()).get_heads()


def test_a_new_database_gets_the_migrations_that_its_file_does_not_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sqlite3.connect(tmp_path / "old.db") as old:
        config = migrations()
        with create_engine(f"sqlite:///{tmp_path}/old.db").connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "0012")
            connection.commit()
        _, *statements, _ = old.iterdump()
    (tmp_path / "old.sql").write_text("\n".join(statements) + "\n")
    monkeypatch.setattr("evsd.store.schema.FRESH", tmp_path / "old.sql")
    with closing(new_database(tmp_path)) as database, database.engine.connect() as connection:
        config.attributes["connection"] = connection
        command.check(config)


def changed(database: Database) -> None:
    with database.transaction() as session:
        session.add(Domain(id=str(uuid.uuid4()), name=str(uuid.uuid4())))


def test_a_database_that_is_behind_what_was_done_with_it_is_known_by_that(tmp_path: Path) -> None:
    """Also while it is used on, until somebody accepts it."""
    with closing(new_database(tmp_path)) as database:
        changed(database)
    shutil.copy(tmp_path / "evsd.db", tmp_path / "backup")
    with closing(new_database(tmp_path)) as database:
        changed(database)
        assert not database.restored
    shutil.copy(tmp_path / "backup", tmp_path / "evsd.db")
    for _ in range(2):
        with closing(new_database(tmp_path)) as database:
            assert database.restored
            for _ in range(5):
                changed(database)
            assert database.restored
    with closing(new_database(tmp_path)) as database:
        database.accept()
    with closing(new_database(tmp_path)) as database:
        assert not database.restored


@pytest.mark.parametrize("noted", [b"", b"00000000000000000001\n", b"torn"])
def test_a_database_that_is_ahead_of_what_was_noted_is_none_from_a_backup(
    tmp_path: Path, noted: bytes
) -> None:
    """The note is written after the commit, and not synced."""
    with closing(new_database(tmp_path)) as database:
        changed(database)
        changed(database)
    (tmp_path / "evsd.changes").write_bytes(noted)
    with closing(new_database(tmp_path)) as database:
        assert not database.restored


def test_two_processes_count_the_changes_together(tmp_path: Path) -> None:
    with (
        closing(new_database(tmp_path)) as one,
        closing(Database(one.url)) as two,
    ):
        for database in (one, two, one, two, two, one):
            changed(database)
        with one.reading() as session:
            count = session.scalars(select(History.changes)).one()
    assert int((tmp_path / "evsd.changes").read_text()) == count


def test_migrating_twice_changes_nothing(tmp_path: Path) -> None:
    new_database(tmp_path)
    new_database(tmp_path)


def test_of_many_callers_one_wins_a_change_of_state(tmp_path: Path) -> None:
    database = new_database(tmp_path)
    add_volume(database)
    wins: list[bool] = []

    def attach() -> None:
        with database.transaction() as session:
            volume = session.get_one(Volume, "v")
            wins.append(advance(session, volume, VOLUME_STATES, VolumeEvent.RESERVE))

    threads = [threading.Thread(target=attach) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(wins) == [False] * 15 + [True]


def test_a_change_that_the_table_does_not_list_changes_nothing(tmp_path: Path) -> None:
    database = new_database(tmp_path)
    add_volume(database)
    with database.transaction() as session:
        volume = session.get_one(Volume, "v")
        assert not advance(session, volume, VOLUME_STATES, VolumeEvent.DETACHED)
    with database.reading() as session:
        assert session.scalars(select(Volume.status)).one() == "available"


def test_a_volume_that_knows_only_its_users_name_gets_the_id(tmp_path: Path) -> None:
    with closing(Database(f"sqlite:///{tmp_path}/evsd.db")) as database:
        fill_old_and_migrate(database, before_ids())
        with database.reading() as session:
            found = {volume.name: volume.user_id for volume in session.scalars(select(Volume))}
    assert found == {"alices": "alice-of-d", "gone": "", "others": "alice-of-e"}


def test_what_hung_on_keys_and_who_might_have_them_is_registered(tmp_path: Path) -> None:
    """A server from before has its ticket still; of one that was never started there is none."""
    with closing(Database(f"sqlite:///{tmp_path}/evsd.db")) as database:
        fill_old_and_migrate(database, [*before_ids(), ("attachments", before_releases())])
        with database.reading() as session:
            [release] = session.scalars(select(KeyRelease))
            dependents = dependents_of(session, "k")
    assert (release.id, release.service, release.process) == ("served", "evs", SERVER)
    assert (release.domain_id, release.project_id, release.key_id) == ("d", "p", "k")
    assert (release.principal, release.ticket_sha256) == ("service:evs for alice", "digest")
    assert release.context == encryption_context("p", "alices")
    found = {(thing.kind, thing.id, thing.name, thing.project_id) for thing in dependents}
    volumes = (("alices", "p"), ("gone", "p"), ("others", "q"))
    assert found == {("volume", name, name, project) for name, project in volumes}


def test_servers_that_run_go_on_under_records_of_their_own(tmp_path: Path) -> None:
    """What evsd served to itself is no attachment any more."""
    evsds_own = dict(before_releases()[0], id="own", volume_id="others", status="internal")
    attachments = [*before_releases(), evsds_own]
    with closing(Database(f"sqlite:///{tmp_path}/evsd.db")) as database:
        fill_old_and_migrate(database, [*before_ids(), ("attachments", attachments)])
        with database.reading() as session:
            left = {attachment.id for attachment in session.scalars(select(Attachment))}
            servers = {server.id: server for server in session.scalars(select(ServerRecord))}
    assert left == {"served", "reserved"}
    found = {(s.id, s.disk_id, s.status, s.own, s.host_id, s.process) for s in servers.values()}
    assert found == {
        ("served", "alices", "kept", False, None, SERVER),
        ("own", "others", "wanted", True, None, SERVER),
    }
    key = KeyUse(**servers["served"].key_use)
    assert (key.service, key.principal, key.key_id) == ("evs", "service:evs for alice", "k")
    assert (key.domain_id, key.project_id) == ("d", "p")
    assert key.context == encryption_context("p", "alices")


def fill_old_and_migrate(database: Database, content: Rows) -> None:
    """Bring a database of an old version, with this in it, to the newest."""
    config = migrations()
    with database.engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0009")
        old = MetaData()
        old.reflect(connection)
        for table, rows in content:
            connection.execute(old.tables[table].insert(), rows)
        command.upgrade(config, "head")
        connection.commit()


def before_releases() -> list[dict[str, object]]:
    """An attachment with a server, and one that never had one."""
    made = {"project_id": "p", "mode": "rw", "connector": {}, "created_at": utcnow()}
    server = {
        "server_pid": SERVER.pid,
        "server_start": SERVER.started,
        "server_boot": SERVER.boot,
        "ticket_sha256": "digest",
    }
    return [
        {"id": "served", "volume_id": "alices", "status": "attached", **made, **server},
        {"id": "reserved", "volume_id": "gone", "status": "reserved", **made}
        | dict.fromkeys(server),
    ]


def before_ids() -> Rows:
    """Two domains with a user of one name, and volumes of theirs and of nobody's any more."""
    text = {"description": "", "created_at": utcnow()}
    users = {"name": "alice", "email": "", "enabled": True, "from_settings": False, **text}
    key = {"alias": "k", "status": "2", "is_default": False, "version": 1, "origin": "kms", **text}
    disk = {"size_gib": 1, "volume_type": "SSD", "availability_zone": "local", "thin": True, **text}
    disk |= {"status": "available", "cmk_id": "k", "wrapped_dek": b"", "updated_at": utcnow()}
    disk |= {"extra_metadata": {}, "tags": {}}
    made = (("alices", "p", "alice"), ("gone", "p", "bob"), ("others", "q", "alice"))
    projects = (("p", "d"), ("q", "e"))
    return [
        ("domains", [{"id": name, "name": name} for name in "de"]),
        (
            "projects",
            [
                {"id": name, "domain_id": above, "name": name, "region": "", "description": ""}
                for name, above in projects
            ],
        ),
        ("users", [{"id": f"alice-of-{above}", "domain_id": above, **users} for above in "de"]),
        ("keys", [{"id": "k", "domain_id": "d", "project_id": "p", **key}]),
        (
            "volumes",
            [
                {"id": name, "project_id": project, "name": name, "user_name": user, **disk}
                for name, project, user in made
            ],
        ),
    ]
