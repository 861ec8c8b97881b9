"""The records of servers: the journal by which none is lost and no disk gets two.

A record says what is to become of a process before anything is done with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from evsd.key_channel.key_use import KeyUse
from evsd.processes import Process
from evsd.serving.failures import ServerFailed
from evsd.serving.key_releases import LayerKey, Releases
from evsd.serving.states import SERVER_STATES, STARTABLE, ServerEvent, ServerStatus
from evsd.serving.tables import ServerRecord
from evsd.store.database import Database
from evsd.store.transitions import advance

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class NewServer:
    """What is asked for: a server `id` of a disk, see `ServerRecord`."""

    id: str
    disk_id: str
    key: KeyUse
    read_only: bool = False
    owner_uid: int | None = None
    device: str = ""
    own: bool = False


class ServerRecords:
    """Those of one host's servers; what another host's say is read, and its processes are its."""

    def __init__(self, database: Database, host_id: str, releases: Releases) -> None:
        self._database, self._host_id, self._releases = database, host_id, releases

    # --- as a part of the caller's transaction -------------------------------------------------

    def plan(self, session: Session, wanted: NewServer) -> None:
        """Note that a server is wanted, before it is started."""
        record = ServerRecord(
            id=wanted.id,
            disk_id=wanted.disk_id,
            status=ServerStatus.WANTED,
            host_id=self._host_id,
            own=wanted.own,
            read_only=wanted.read_only,
            owner_uid=wanted.owner_uid,
            device=wanted.device,
            key_use=asdict(wanted.key),
        )
        session.add(record)

    def keep(self, session: Session, server_id: str) -> bool:
        """Note that it is started again from now on; False where it was given up meanwhile."""
        record = session.get(ServerRecord, server_id)
        return record is not None and advance(session, record, SERVER_STATES, ServerEvent.KEEP)

    def note_device(self, session: Session, server_id: str, device: str) -> None:
        """Note whether the next process is to expect the host's device."""
        record = session.get(ServerRecord, server_id)
        if record is not None:
            record.device = device

    # --- of their own --------------------------------------------------------------------------

    def of_this_host(self) -> list[ServerRecord]:
        """All whose processes are this host's."""
        with self._database.reading() as session:
            return list(session.scalars(select(ServerRecord).where(ServerRecord.on(self._host_id))))

    def other_hosts(self) -> list[str]:
        """The hosts, but for this one, that have servers on record."""
        others = select(ServerRecord.host_id).where(~ServerRecord.on(self._host_id)).distinct()
        with self._database.reading() as session:
            return [host_id for host_id in session.scalars(others) if host_id]

    def ids(self) -> list[str]:
        """All that there are, on whatever host."""
        with self._database.reading() as session:
            return list(session.scalars(select(ServerRecord.id)))

    def find(self, server_id: str) -> ServerRecord | None:
        """One, on whatever host."""
        with self._database.reading() as session:
            return session.get(ServerRecord, server_id)

    def of_disk(self, disk_id: str) -> ServerRecord | None:
        """The one that a disk has."""
        with self._database.reading() as session:
            return session.scalar(select(ServerRecord).where(ServerRecord.disk_id == disk_id))

    def lacks_process(self, server_id: str) -> bool:
        """Whether it is to be kept and its last process has ended."""
        record = self.find(server_id)
        if record is None or record.status != ServerStatus.KEPT:
            return False
        return record.process is None or not record.process.running

    def note_process(
        self,
        server_id: str,
        before: Process | None,
        process: Process,
        ticket: str,
        layer_keys: Iterable[LayerKey] = (),
    ) -> None:
        """Note the next process, and that it may have the key, and those of a clone's layers.

        Not where the server was given up or got another meanwhile: the socket belongs to whoever is
        on record. Raises `ServerFailed`.
        """
        with self._database.transaction() as session:
            record = session.get(ServerRecord, server_id)
            if record is None or record.status not in STARTABLE or record.process != before:
                raise ServerFailed("it was detached meanwhile, or has another server")
            record.process = process
            self._release_keys(session, record, ticket, layer_keys)

    def ticket_sha256(self, server_id: str) -> str:
        """The digest of its process's ticket; "" where it may not have the key any more."""
        with self._database.reading() as session:
            return self._releases.ticket_sha256(session, server_id)

    def give_up(self, server_id: str) -> Process | None:
        """Note that it ends, and return the process that has to.

        From here on none is started and none gets a key. Another host's is not to be touched here.
        """
        with self._database.transaction() as session:
            record = session.get(ServerRecord, server_id)
            if record is None:
                return None
            advance(session, record, SERVER_STATES, ServerEvent.END)
            self._releases.withdraw_release(session, server_id)
            if record.is_on(self._host_id):
                return record.process
        log.warning("the server of another host is forgotten", server=server_id)
        return None

    def forget(self, server_id: str) -> None:
        """Its process has ended."""
        with self._database.transaction() as session:
            record = session.get(ServerRecord, server_id)
            if record is not None:
                session.delete(record)

    def _release_keys(
        self, session: Session, record: ServerRecord, ticket: str, layer_keys: Iterable[LayerKey]
    ) -> None:
        """Let its process, and no other, have the disk's key on this ticket."""
        process = record.process
        if process is None:
            return
        own = KeyUse(**record.key_use)
        self._releases.withdraw_release(session, record.id)
        self._releases.register_release(session, record.id, own, process, ticket)
        for key in layer_keys:
            use = key.use(own)
            self._releases.register_release(session, key.release_id, use, process, ticket)
