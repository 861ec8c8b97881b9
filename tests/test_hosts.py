"""Records of another host: at start, nothing that they say is touched."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from evsd.host import host_id
from evsd.pools.file import FilePool
from evsd.processes import Process
from evsd.services import load_records
from evsd.services.evs.attachments.detaching import Detaching
from evsd.services.evs.tables import Attachment, Volume
from evsd.services.kms import consumers
from evsd.serving.supervisor import ServerSupervisor
from evsd.serving.tables import ServerRecord
from evsd.store.database import Database, utcnow
from tests.support.records import add_volume

HERE, ELSEWHERE = "a" * 32, "b" * 32


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    load_records()
    with closing(Database(f"sqlite:///{tmp_path}/evsd.db")) as database:
        database.migrate()
        yield database


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs here, whatever the records say of it."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        yield process
        process.kill()


def servers(database: Database, directory: Path) -> ServerSupervisor:
    (directory / "nbd").mkdir(exist_ok=True)
    pool, release = FilePool(directory), directory / "keys.sock"
    return ServerSupervisor(database, pool, consumers, release, directory / "nbd", HERE)


@contextmanager
def started(database: Database, directory: Path) -> Iterator[ServerSupervisor]:
    with servers(database, directory) as supervisor:
        supervisor.start()
        yield supervisor


def own_server(database: Database, pid: int, host: str | None) -> None:
    """A server that an interrupted evsd has left, which served a disk to itself."""
    record = ServerRecord(
        id="s",
        disk_id="v",
        status="wanted",
        host_id=host,
        own=True,
        read_only=False,
        device="",
        key_use={},
    )
    process = Process.of(pid)
    assert process is not None
    record.process = process
    with database.transaction() as session:
        session.add(record)


def test_a_server_of_another_host_is_not_touched(
    database: Database, tmp_path: Path, stranger: subprocess.Popen[bytes]
) -> None:
    own_server(database, stranger.pid, ELSEWHERE)
    with started(database, tmp_path) as supervisor:
        assert supervisor.records.other_hosts() == [ELSEWHERE]
    assert stranger.poll() is None
    with database.reading() as session:
        assert session.get_one(ServerRecord, "s").status == "wanted"


@pytest.mark.parametrize("host", [HERE, None])
def test_one_of_this_host_is_ended_that_nobody_waits_for(
    database: Database, tmp_path: Path, stranger: subprocess.Popen[bytes], host: str | None
) -> None:
    own_server(database, stranger.pid, host)
    with started(database, tmp_path):
        assert stranger.wait(60) != 0
    with database.reading() as session:
        assert session.get(ServerRecord, "s") is None


def test_a_server_of_another_host_is_not_ended_when_its_record_is_forgotten(
    database: Database, tmp_path: Path, stranger: subprocess.Popen[bytes]
) -> None:
    own_server(database, stranger.pid, ELSEWHERE)
    with servers(database, tmp_path) as supervisor:
        supervisor.start()
        supervisor.end("s")
    assert stranger.poll() is None


def unfinished(database: Database, host: str | None) -> None:
    """An attachment in the middle of its detaching."""
    add_volume(database, "detaching")
    with database.transaction() as session:
        session.add(
            Attachment(
                id="a",
                project_id="p",
                volume_id="v",
                status="detaching",
                host_id=host,
                created_at=utcnow(),
            )
        )


@pytest.mark.parametrize(
    ("host", "status"), [(ELSEWHERE, "detaching"), (HERE, "available"), (None, "available")]
)
def test_what_another_host_left_unfinished_is_that_hosts_to_end(
    database: Database, tmp_path: Path, host: str | None, status: str
) -> None:
    unfinished(database, host)
    with (
        started(database, tmp_path) as supervisor,
        Detaching(database, supervisor, HERE) as detaching,
    ):
        detaching.end_unfinished()
    with database.reading() as session:
        assert session.get_one(Volume, "v").status == status


def test_a_host_is_known_by_a_file_that_is_made_once(tmp_path: Path) -> None:
    file = tmp_path / "evsd.host"
    made = host_id(file)
    assert host_id(file) == made != host_id(tmp_path / "other.host")
    os.truncate(file, 7)
    with pytest.raises(OSError, match="no id of a host"):
        host_id(file)
