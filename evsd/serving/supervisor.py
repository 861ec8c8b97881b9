"""Starting, watching, restarting and ending the servers of disks.

Whoever wants a disk served notes that (`records.plan`) in the transaction that says what for, and
has the server started (`launch`); from `records.keep` on it is started again whenever it dies.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from evsd.key_channel.key_use import KeyUse
from evsd.pools.pool import Pool
from evsd.processes import Process
from evsd.resource import Resource
from evsd.serving import connected_clients
from evsd.serving.connected_clients import Client
from evsd.serving.control import ServerControl
from evsd.serving.failures import ServerFailed, ServerNotEnded
from evsd.serving.held_disks import HeldDisks
from evsd.serving.key_releases import Releases
from evsd.serving.records import NewServer, ServerRecords
from evsd.serving.retries import Retries
from evsd.serving.server import WaitingServer, accepts, new_ticket, stop
from evsd.serving.server_files import ServerFiles, is_in_own_directory
from evsd.serving.socket_access import require_acls
from evsd.serving.start_settings import StartSettings
from evsd.serving.states import STARTABLE, ServerStatus
from evsd.serving.tables import ServerRecord
from evsd.serving.watcher import Watcher
from evsd.store.database import Database

log = structlog.get_logger()


class ServerSupervisor(Resource):
    """The servers of this host, those of the last run of evsd among them."""

    def __init__(
        self,
        database: Database,
        pool: Pool,
        releases: Releases,
        release_socket: Path,
        directory: Path,
        host_id: str,
        group: int | None = None,
    ) -> None:
        """Files of servers are in `directory`; `group` may open the socket of each, see `own`."""
        self.directory = directory
        self.records = ServerRecords(database, host_id, releases)
        self.disks = HeldDisks()
        self._database, self._files, self._group = database, ServerFiles(directory), group
        self._start_settings = StartSettings(pool, self._files, release_socket, group)
        self._restarts = Retries(
            self.records.lacks_process,
            self.launch,
            begins="server died, it is started again",
            fails="server did not start",
        )
        self._endings = Retries(
            self._is_ending,
            self.end,
            begins="server could not be ended, that is tried again",
            fails="server can't be ended",
        )
        self._watcher = Watcher(lambda server_id, _: self._restarts.begin(server_id))

    def start(self) -> None:
        """Adopt the servers of the last run, and end what it served to itself.

        Raises `AclsUnsupported` where the group can't be given what it is to have.
        """
        if self._group is not None:
            require_acls(self.directory)
        self._watcher.start()
        self._files.remove_unused()
        for record in self.records.of_this_host():
            try:
                self._adopt(record)
            except Exception:
                # One that is stuck must not keep evsd from all others.
                log.exception("not adopted", server=record.id)
        self._name_strangers()
        for host_id in self.records.other_hosts():
            log.warning(
                "servers of another host are left alone",
                host=host_id,
                remedy="if this host has taken its place, write that id into evsd.host of the "
                "state directory and start evsd again; else detach their volumes",
            )

    def close(self) -> None:
        """Stop watching; the servers go on, the next run of evsd adopts them."""
        self._restarts.close()
        self._endings.close()
        self._watcher.close()

    # --- one server ----------------------------------------------------------------------------

    def launch(self, server_id: str) -> None:
        """Start the first process, or the next where the one on record has ended.

        Raises `ServerFailed`; the record may then name a process that was ended again.
        """
        record = self._startable(server_id)
        with self.disks.held(*self._start_settings.disks(record)):
            self._launch(self._startable(server_id))

    def _startable(self, server_id: str) -> ServerRecord:
        record = self.records.find(server_id)
        if record is None or record.status not in STARTABLE:
            raise ServerFailed("it was detached meanwhile")
        return record

    def _launch(self, record: ServerRecord) -> None:
        ticket = new_ticket()
        settings = self._start_settings.of(record)
        with WaitingServer(settings) as server:
            keys = settings.layer_keys.values()
            self.records.note_process(record.id, record.process, server.process, ticket, keys)
            self._watcher.watch(record.id, server.process)
            server.release(ticket)
            server.await_ready()
        log.info("server started", server=record.id, pid=server.process.pid)

    def look_after(self, server_id: str) -> None:
        """Start a kept one again if it has died before it was kept."""
        self._restarts.begin(server_id)

    def restart(self, server_id: str) -> None:
        """Let the process of a kept one flush and end; the next one is started on its socket.

        For clients that connect again by themselves. Raises `ServerNotEnded`.
        """
        process = self._process(server_id)
        if process is not None:
            stop(process)

    def end(self, server_id: str) -> None:
        """Let it flush, end it and forget it; nothing happens where that was done already.

        Raises `ServerNotEnded` where it can't be yet; whoever asked tries again.
        """
        process = self.records.give_up(server_id)
        if process is not None:
            stop(process)
        self._files.remove(server_id)
        self._restarts.forget(server_id)
        self._endings.forget(server_id)
        self.records.forget(server_id)

    def runs(self, server_id: str) -> bool:
        """Whether its process runs now."""
        process = self._process(server_id)
        return process is not None and process.running

    def grow(self, disk_id: str) -> None:
        """Let who connects from now on see a disk's new size; nothing happens where none serves it.

        Raises `ControlFailed`.
        """
        with self.disks.held(disk_id):
            control = self.control(disk_id)
            if control is not None:
                control.grow()

    def control(self, disk_id: str) -> ServerControl | None:
        """How to tell something to the server that a disk has; None where none runs.

        For whoever holds the disk (`disks.held`), so that none is started meanwhile.
        """
        record = self.records.of_disk(disk_id)
        if record is None or record.process is None or not record.process.running:
            return None
        return ServerControl(self._files.control(record.id), self.records.ticket_sha256(record.id))

    def socket(self, server_id: str) -> Path:
        """The unix socket on which it serves."""
        return self._files.socket(server_id)

    def clients(self, server_id: str) -> list[Client]:
        """Who is connected to it now; a lost connection is none."""
        process = self._process(server_id)
        if process is None or not process.works:
            return []
        socket = self.socket(server_id)
        if not is_in_own_directory(socket):
            return connected_clients.of_older_server(socket)
        try:
            return connected_clients.reported(self._files.report(server_id))
        except FileNotFoundError:  # it was ended meanwhile
            return []

    # --- evsd's own use ------------------------------------------------------------------------

    @contextmanager
    def own_use(self, disk_id: str, key: KeyUse, *, read_only: bool = False) -> Iterator[Path]:
        """Serve a disk to evsd itself, on the socket this gives, until the block ends.

        For disks that nobody else has, or may have meanwhile. Raises `ServerFailed`; of those
        `ServerNotEnded` where a server of it can't be ended: it is as soon as that can be done.
        """
        self.end_own_use(disk_id)
        server = NewServer(str(uuid.uuid4()), disk_id, key, read_only=read_only, own=True)
        with self._database.transaction() as session:
            self.records.plan(session, server)
        try:
            self.launch(server.id)
            yield self.socket(server.id)
        except BaseException:  # what went wrong first is what the caller must hear
            self._try_to_end_own(server.id)
            raise
        self._end_own(server.id)

    def end_own_use(self, disk_id: str) -> None:
        """End what evsd still serves to itself; raises `ServerNotEnded` where it can't be yet.

        For disks that nobody else can have.
        """
        left = self.records.of_disk(disk_id)
        if left is not None:
            self._end_own(left.id)

    def _end_own(self, server_id: str) -> None:
        try:
            self.end(server_id)
        except Exception:
            self._endings.begin(server_id)
            raise

    def _try_to_end_own(self, server_id: str) -> None:
        try:
            self._end_own(server_id)
        except ServerNotEnded as error:
            log.error("server can't be ended", server=server_id, reason=str(error))

    def _is_ending(self, server_id: str) -> bool:
        record = self.records.find(server_id)
        return record is not None and record.status == ServerStatus.ENDING

    # --- what the last run has left ------------------------------------------------------------

    def _adopt(self, record: ServerRecord) -> None:
        """What is wanted or ending for somebody else is theirs to end: nobody waits for it now."""
        if record.own:
            log.warning("unfinished", server=record.id, status=record.status)
            self._end_own(record.id)
        elif record.status == ServerStatus.KEPT and record.process is not None:
            # A process that has ended is reported by the watcher at once.
            self._watcher.watch(record.id, record.process)

    def _name_strangers(self) -> None:
        """Say which servers run that no record knows, as after a database was restored."""
        known = {self.socket(server_id) for server_id in self.records.ids()}
        for path in sorted(self._files.sockets() - known):
            if accepts(path):
                log.warning(
                    "a server that no attachment knows",
                    socket=str(path),
                    remedy="when its client is gone, end its nbdkit",
                )

    def _process(self, server_id: str) -> Process | None:
        record = self.records.find(server_id)
        return None if record is None else record.process
