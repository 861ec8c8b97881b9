"""Disks with servers that a supervisor has started: records, pool and processes, and no evsd."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import select

from evsd.key_channel.key_use import KeyUse
from evsd.layers.chain import read, volume_path
from evsd.pools.file import FilePool
from evsd.processes import Process
from evsd.services import load_records
from evsd.services.kms import consumers
from evsd.services.kms.tables import KeyRelease
from evsd.serving.records import NewServer
from evsd.serving.snapshots import DiskSnapshots
from evsd.serving.supervisor import ServerSupervisor
from evsd.store.database import Database
from nbd_plugin import luks2
from tests.support import libnbd
from tests.support.key_service import KeyService, running
from tests.support.records import add_volume
from tests.support.volume import new_header

MIB = 1024 * 1024
SIZE = 16 * MIB


class ServedDisks:
    """A pool in a directory, all of whose disks but clones have one data key, and their servers."""

    def __init__(self, directory: Path, database: Database) -> None:
        self.directory, self.database = directory, database
        self.dek = os.urandom(64)
        self.pool = FilePool(directory)
        self.key_service = KeyService(directory / "keys.sock", self.dek, "")
        self.key_service.asks_for_tickets = False
        self.supervisor = self.new_supervisor()

    @property
    def snapshots(self) -> DiskSnapshots:
        """As a service has them."""
        return DiskSnapshots(self.pool, self.supervisor)

    def snapshot(self, *disk_ids: str) -> list[str]:
        """Take one of each; gives their ids."""
        made = {disk_id: str(uuid.uuid4()) for disk_id in disk_ids}
        self.snapshots.take(made)
        return list(made.values())

    def content(self, disk_id: str, length: int = MIB) -> bytes:
        """What a client reads from the beginning on; it is served for that if it is not."""
        served = self.supervisor.records.of_disk(disk_id) is not None
        if not served:
            self.attach(disk_id)
        with self.connection(disk_id) as handle:
            content = bytes(handle.pread(length, 0))
        if not served:
            self.detach(disk_id)
        return content

    def files(self) -> set[str]:
        """What is in the pool, beside evsd's own."""
        own = {".db", ".db-shm", ".db-wal", ".sock"}
        return {p.name for p in self.directory.iterdir() if p.suffix not in own and p.is_file()}

    def new_supervisor(self) -> ServerSupervisor:
        """As the next run of evsd has it."""
        release, own = self.key_service.socket, self.directory / "nbd"
        own.mkdir(exist_ok=True)
        return ServerSupervisor(self.database, self.pool, consumers, release, own, "a" * 32)

    def clone(self, disk_id: str, snapshot_id: str, *, size: int = SIZE) -> str:
        """Another disk, with a data key of its own."""
        dek = os.urandom(64)
        header = new_header(dek, size, cmk_id="k")
        self.key_service.others[header.uuid] = dek
        self.snapshots.clone(disk_id, snapshot_id, header)
        return header.uuid

    def create(self, *, size: int = SIZE, thin: bool = True) -> str:
        """A disk; gives its id."""
        header = new_header(self.dek, size, thin=thin, cmk_id="k")
        self.pool.create(header)
        return header.uuid

    def header(self, disk_id: str) -> luks2.Header:
        """Of the layer that is written to."""
        return read(volume_path(self.directory, disk_id)).header

    def attach(self, disk_id: str, *, read_only: bool = False) -> str:
        """Have it served, and served again whenever its server dies; gives the server's id."""
        key = KeyUse("evs", "root", "d", "p", "k", {})
        server = NewServer(str(uuid.uuid4()), disk_id, key, read_only=read_only)
        with self.database.transaction() as session:
            self.supervisor.records.plan(session, server)
        self.supervisor.launch(server.id)
        with self.database.transaction() as session:
            self.supervisor.records.keep(session, server.id)
        return server.id

    def detach(self, disk_id: str) -> None:
        """End its server."""
        self.supervisor.end(self.server(disk_id))

    def server(self, disk_id: str) -> str:
        """The id of its server."""
        record = self.supervisor.records.of_disk(disk_id)
        assert record is not None
        return record.id

    def process(self, disk_id: str) -> Process:
        """The one that serves it."""
        record = self.supervisor.records.of_disk(disk_id)
        assert record is not None
        assert record.process is not None
        return record.process

    @contextmanager
    def connection(self, disk_id: str) -> Iterator[Any]:
        """One connection of libnbd to its server."""
        handle = libnbd.load().NBD()
        handle.connect_unix(str(self.supervisor.socket(self.server(disk_id))))
        try:
            yield handle
        finally:
            if not (handle.aio_is_dead() or handle.aio_is_closed()):
                handle.shutdown()

    def releases(self) -> list[KeyRelease]:
        """Which keys are released, and to whom."""
        with self.database.reading() as session:
            return list(session.scalars(select(KeyRelease)))

    def end_all(self) -> None:
        """No process stays behind."""
        for server_id in self.supervisor.records.ids():
            self.supervisor.end(server_id)


@contextmanager
def served_disks(directory: Path) -> Iterator[ServedDisks]:
    """Without disks at first."""
    load_records()
    with ExitStack() as stack:
        database = stack.enter_context(closing(Database(f"sqlite:///{directory}/evsd.db")))
        database.migrate()
        add_volume(database)  # and the key that it is under
        disks = ServedDisks(directory, database)
        stack.enter_context(running(disks.key_service))
        stack.enter_context(disks.supervisor).start()
        stack.callback(disks.end_all)
        yield disks
