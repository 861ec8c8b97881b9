"""Attaching and detaching volumes, and what becomes of their servers.

The record is the journal: it says `starting` before a server is started and `detaching` before
one is stopped. `recover` brings every record and every process back together at start: servers
that still run are adopted, interrupted starts and stops are finished.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from evsd import connector as host
from evsd.errors import storage_error
from evsd.key_channel.call import Call
from evsd.key_client.process import KeyProcess
from evsd.pools.pool import HeaderInvalid, Pool, PoolError
from evsd.processes import Process
from evsd.resource import Resource
from evsd.services.evs.attachments.states import (
    ATTACHMENT_STATES,
    SERVING,
    AttachmentEvent,
    AttachmentStatus,
)
from evsd.services.evs.consumer import CONSUMER
from evsd.services.evs.errors import (
    AttachFailed,
    AttachmentNotFound,
    DetachFailed,
    VolumeHalfExtended,
    VolumeInUse,
    VolumeKeyNotEnabled,
    VolumeNotAttachable,
)
from evsd.services.evs.key_context import encryption_context, service_call
from evsd.services.evs.limits import GIB
from evsd.services.evs.tables import Attachment, Volume
from evsd.services.evs.volumes.service import find as find_volume
from evsd.services.evs.volumes.states import VOLUME_STATES, VolumeEvent, VolumeStatus
from evsd.services.iam.tables import Project
from evsd.services.kms.consumers import register_release, withdraw_release
from evsd.services.kms.errors import KeyNotFound, KeyUnusable
from evsd.services.kms.operations import CheckServiceKey
from evsd.serving import clients
from evsd.serving.access import Access, make_directory, require_acls
from evsd.serving.clients import Client
from evsd.serving.files import ServerFiles, is_in_own_directory
from evsd.serving.retries import Retries
from evsd.serving.server import (
    ServerFailed,
    ServerSettings,
    WaitingServer,
    accepts,
    new_ticket,
    stop,
)
from evsd.serving.watcher import Watcher
from evsd.space import refusal
from evsd.store.database import Database, utcnow
from evsd.store.transitions import advance
from nbd_plugin import luks2

# A client that runs stays, and is told from one whose connection is being closed by not going away.
# Of one that has ended, or whose device has gone, that is all there is to wait for.
STAYING_S, LEAVING_S, LOOK_S = 3.0, 20.0, 0.05

# States in which a server may be started: for the first time, or again.
STARTABLE = SERVING | {AttachmentStatus.STARTING, AttachmentStatus.INTERNAL}
# States in which only evsd's end can have left one.
UNFINISHED = {
    AttachmentStatus.STARTING,
    AttachmentStatus.DETACHING,
    AttachmentStatus.INTERNAL,
}

# Those with a device on the host, as evsctl names them in the connector.
DEVICE_TRANSPORTS = frozenset({"kernel", "fuse"})

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class NewAttachment:
    """What a caller asks for. With an empty connector the volume is only reserved."""

    volume_id: str
    connector: dict[str, Any]
    mode: str = "rw"
    instance: str | None = None


class AttachmentService(Resource):
    """The attachments of all projects and the server processes behind them."""

    def __init__(
        self,
        database: Database,
        keys: KeyProcess,
        pool: Pool,
        directory: Path,
        group: int | None = None,
    ) -> None:
        """`group` may open the socket of every attachment."""
        self._database, self._keys, self._pool = database, keys, pool
        self._files, self._group = ServerFiles(directory), group
        self._restarts = Retries(
            self._lacks_server,
            self._start_server,
            begins="server died, it is started again",
            fails="server did not start",
        )
        self._endings = Retries(
            self._is_detaching,
            self._try_to_end,
            begins="server could not be ended, that is tried again",
            fails="server can't be ended",
        )
        self._watcher = Watcher(lambda attachment_id, _: self._restarts.begin(attachment_id))

    def start(self) -> None:
        """Watch servers, those of the last run of evsd among them.

        Raises `AclsUnsupported` where the group can't be given what it is to have.
        """
        if self._group is not None:
            require_acls(self._files.directory)
        self._watcher.start()
        self._recover()

    def close(self) -> None:
        """Stop watching; the servers go on, the next run of evsd adopts them."""
        self._restarts.close()
        self._endings.close()
        self._watcher.close()

    def socket_path(self, attachment_id: str) -> Path:
        """The unix socket on which the attachment's volume is served."""
        return self._files.socket(attachment_id)

    def clients(self, attachment: Attachment) -> list[Client]:
        """Who is connected to the attachment's server now; a lost connection is none."""
        if attachment.server is None or not attachment.server.works:
            return []
        socket = self.socket_path(attachment.id)
        if not is_in_own_directory(socket):
            return clients.of_older_server(socket)
        try:
            return clients.reported(self._files.report(attachment.id))
        except FileNotFoundError:  # it was ended meanwhile
            return []

    # --- the life of an attachment -------------------------------------------------------------

    def create(self, call: Call, wanted: NewAttachment) -> Attachment:
        """Reserve the volume, and attach it where a connector is given.

        Raises `VolumeNotFound`, `VolumeNotAttachable`, `NotDelegated`, `VolumeKeyNotEnabled`,
        `AttachFailed`; the volume is then as it was before.
        """
        with self._database.transaction() as session:
            volume = find_volume(session, call.project_id, wanted.volume_id)
            if not advance(session, volume, VOLUME_STATES, VolumeEvent.RESERVE):
                half = volume.status == VolumeStatus.ERROR_EXTENDING
                refusal = VolumeHalfExtended if half else VolumeNotAttachable
                raise refusal(name=volume.name, status=volume.status)
            attachment = Attachment(
                id=str(uuid.uuid4()),
                project_id=call.project_id,
                volume_id=volume.id,
                status=AttachmentStatus.RESERVED,
                mode=wanted.mode,
                instance=wanted.instance,
                connector={},
                attached_by=call.principal,
                owner_uid=call.unix_user,
                created_at=utcnow(),
            )
            session.add(attachment)
        if not wanted.connector:
            return attachment
        try:
            return self.serve(call, attachment.id, wanted.connector)
        except Exception:
            self._undo(attachment.id)
            raise

    def serve(self, call: Call, attachment_id: str, connector: dict[str, Any]) -> Attachment:
        """Start the server of a reserved volume, or note another connector of a served one."""
        with self._database.reading() as session:
            attachment = find(session, call.project_id, attachment_id)
            volume = session.get_one(Volume, attachment.volume_id)
        if attachment.status in SERVING:
            return self._note_connector(attachment_id, connector)
        header = self._header(volume)
        if header.settled < header.size:  # what would be written behind that may be thrown away
            raise AttachFailed(
                name=volume.name,
                reason="its file is being extended, and its record does not know; "
                f"evsctl extend {volume.name} --size {header.size // GIB}G finishes that",
            )
        self._check_key(call, volume, header)
        with self._database.transaction() as session:
            attachment = find(session, call.project_id, attachment_id)
            event = AttachmentEvent.SERVE
            found = {
                "connector": connector,
                "attached_by": call.principal,
                "owner_uid": call.unix_user,
            }
            if not advance(session, attachment, ATTACHMENT_STATES, event, **found):
                raise VolumeNotAttachable(name=volume.name, status=attachment.status)
            volume = session.get_one(Volume, attachment.volume_id)
            advance(session, volume, VOLUME_STATES, VolumeEvent.ATTACH)
        try:
            return self._serve(attachment_id)
        except ServerFailed as error:
            log.error("server did not start", attachment=attachment_id, reason=str(error))
            self._undo(attachment_id)
            full = refusal(self._files.directory)
            if full is not None:
                what = f"the server of volume {volume.name} did not start: the state directory"
                raise storage_error(what, self._files.directory.parent, full) from error
            raise AttachFailed(name=volume.name, reason=error) from error
        except Exception:
            self._undo(attachment_id)
            raise

    def _serve(self, attachment_id: str) -> Attachment:
        self._start_server(attachment_id)
        with self._database.transaction() as session:
            attachment = session.get(Attachment, attachment_id)
            event, now = AttachmentEvent.SERVED, utcnow()
            if attachment is None or not advance(
                session, attachment, ATTACHMENT_STATES, event, attached_at=now
            ):
                raise ServerFailed("it was detached meanwhile")
        self._restarts.begin(attachment_id)  # it may have died while the record said `starting`
        return attachment

    def _note_connector(self, attachment_id: str, connector: dict[str, Any]) -> Attachment:
        with self._database.transaction() as session:
            attachment = session.get_one(Attachment, attachment_id)
            attachment.connector = connector
        return attachment

    def complete(self, call: Call, attachment_id: str) -> None:
        """The client has its device: the volume is in use. Saying so twice is no error."""
        with self._database.transaction() as session:
            attachment = find(session, call.project_id, attachment_id)
            volume = session.get_one(Volume, attachment.volume_id)
            if attachment.status == AttachmentStatus.ATTACHED:
                return
            if not advance(session, attachment, ATTACHMENT_STATES, AttachmentEvent.COMPLETE):
                raise VolumeNotAttachable(name=volume.name, status=volume.status)
            advance(session, volume, VOLUME_STATES, VolumeEvent.ATTACHED)

    def detach(self, call: Call, attachment_id: str, *, force: bool = False) -> list[Client]:
        """End the server, when it has flushed, and make the volume available.

        Of two callers the second waits for the first. Raises `VolumeInUse` where somebody is
        connected, whom `force` takes the disk away from: they are returned. Raises `DetachFailed`
        if the server can't be ended; the volume is then `detaching` until it can, without another
        call.
        """
        attachment = self.show(call.project_id, attachment_id)
        losers = self._users(attachment) if attachment.status in SERVING else []
        if losers and not force:
            self._await_no_clients(attachment)
            losers = []
        if losers:
            said = [str(client) for client in losers]
            log.warning("detached by force", attachment=attachment_id, clients=said)
        self._end_or_refuse(attachment_id)
        return losers

    def _users(self, attachment: Attachment) -> list[Client]:
        """Who is connected, or will be again: a device may wait for its next server."""
        found = self.clients(attachment)
        return found or ([clients.DEVICE] if _has_device(attachment) else [])

    def _await_no_clients(self, attachment: Attachment) -> None:
        """Wait for those that are leaving; raises `VolumeInUse` where one is not."""
        start = time.monotonic()
        while found := self._users(attachment):
            stays = any(_stays(attachment, client) for client in found)
            if time.monotonic() - start > (STAYING_S if stays else LEAVING_S):
                with self._database.reading() as session:
                    volume = session.get_one(Volume, attachment.volume_id)
                said = "; ".join(str(client) for client in found)
                raise VolumeInUse(name=volume.name, clients=said)
            time.sleep(LOOK_S)

    def show(self, project_id: str, attachment_id: str) -> Attachment:
        """One attachment; raises `AttachmentNotFound`, for a foreign project's too."""
        with self._database.reading() as session:
            return find(session, project_id, attachment_id)

    def list_all(self, project_id: str, volume_id: str | None = None) -> list[Attachment]:
        """A project's attachments, oldest first; those of one volume if asked."""
        query = select(Attachment).where(
            Attachment.project_id == project_id, Attachment.status != AttachmentStatus.INTERNAL
        )
        if volume_id is not None:
            query = query.where(Attachment.volume_id == volume_id)
        with self._database.reading() as session:
            return list(session.scalars(query.order_by(Attachment.created_at)))

    @contextmanager
    def own_use(self, volume_id: str) -> Iterator[Path]:
        """Serve a volume to evsd itself, on the socket this gives, until the block ends.

        For volumes in a state in which nobody can attach them; it leaves that state as it is.
        Raises `NotDelegated`, `VolumeKeyNotEnabled`, `AttachFailed`; `DetachFailed` where the
        server can't be ended, see `end_own_use`.
        """
        self.end_own_use(volume_id)
        with self._database.transaction() as session:
            volume = session.get_one(Volume, volume_id)
            attachment = _own(volume)
            session.add(attachment)
        try:
            self._check_key(self._own_call(volume), volume, self._header(volume))
            self._start_server(attachment.id)
            yield self.socket_path(attachment.id)
        except ServerFailed as error:
            self._undo(attachment.id)
            raise AttachFailed(name=volume.name, reason=error) from error
        except BaseException:  # what went wrong first is what the caller must hear
            self._undo(attachment.id)
            raise
        self.end_own_use(volume_id)

    def end_own_use(self, volume_id: str) -> None:
        """End what evsd still serves to itself, as where it can't be ended yet.

        For volumes that nobody can have attached. Raises `DetachFailed` where the server still
        can't be ended: it has the volume's file, and may write to it yet.
        """
        with self._database.reading() as session:
            left = session.scalar(select(Attachment).where(Attachment.volume_id == volume_id))
        if left is not None:
            self._end_or_refuse(left.id)

    def _own_call(self, volume: Volume) -> Call:
        with self._database.reading() as session:
            project = session.get_one(Project, volume.project_id)
        return service_call(volume, project, "evsd", volume.id)

    # --- servers -------------------------------------------------------------------------------

    def _header(self, volume: Volume) -> luks2.Header:
        """What the volume's file holds; refuses one that is gone, broken or another volume's."""
        try:
            header = self._pool.header(volume.id)
        except HeaderInvalid as error:
            raise AttachFailed(
                name=volume.name,
                reason=f"its file: {error}; evsctl header restore {volume.name} FILE puts a backup "
                "of its header back",
            ) from error
        except PoolError as error:
            raise AttachFailed(name=volume.name, reason=f"its file: {error}") from error
        if header.uuid != volume.id:
            raise AttachFailed(name=volume.name, reason=f"its file is that of volume {header.uuid}")
        if header.size < volume.size_gib * GIB:  # what is behind would be cut off for its clients
            raise AttachFailed(
                name=volume.name,
                reason=f"its header is from before it had {volume.size_gib} GiB; "
                f"evsctl header restore {volume.name} FILE sets that right",
            )
        return header

    def _check_key(self, call: Call, volume: Volume, header: luks2.Header) -> None:
        """Refuse now what the server would be refused when its first client comes."""
        try:
            context = encryption_context(volume.project_id, volume.id)
            self._keys.call(
                call,
                CheckServiceKey(CONSUMER.service, volume.cmk_id, header.wrapped_dek, context),
            )
        except (KeyUnusable, KeyNotFound) as error:
            raise VolumeKeyNotEnabled(
                reason=f"volume {volume.name} can't be attached: {error.text}"
            ) from error

    def _start_server(self, attachment_id: str) -> None:
        """Start the first server, or the next where the one on record has ended.

        Raises `ServerFailed`; the record may then name a process that was ended again.
        """
        with self._database.reading() as session:
            attachment = session.get(Attachment, attachment_id)
        if attachment is None or attachment.status not in STARTABLE:
            raise ServerFailed("it was detached meanwhile")
        before = attachment.server
        settings = self._settings(attachment)
        ticket = new_ticket()
        with WaitingServer(settings) as server:
            self._record_server(attachment_id, before, server.process, ticket)
            self._watcher.watch(attachment_id, server.process)
            server.release(ticket)
            server.await_ready()
        log.info("server started", attachment=attachment_id, pid=server.process.pid)

    def _settings(self, attachment: Attachment) -> ServerSettings:
        own = self._files.own_directory(attachment.id)
        if own.is_dir() or attachment.status not in SERVING:  # else as an earlier evsd began
            self._open_to_its_users(own, attachment)
        socket = self.socket_path(attachment.id)
        reports = is_in_own_directory(socket)
        has_device = reports and attachment.connector.get("transport") in DEVICE_TRANSPORTS
        return ServerSettings(
            attachment_id=attachment.id,
            volume_file=self._pool.path(attachment.volume_id),
            socket=socket,
            log=self._files.log(attachment.id),
            release_socket=self._keys.release_socket,
            read_only=attachment.mode == "ro",
            clients=self._files.report(attachment.id) if reports else None,
            device=host.identifier_of(attachment.id) if has_device else "",
        )

    def _open_to_its_users(self, own: Path, attachment: Attachment) -> None:
        internal = attachment.status == AttachmentStatus.INTERNAL
        access = Access() if internal else Access(attachment.owner_uid, self._group)
        try:
            make_directory(own, access)
        except OSError as error:
            raise ServerFailed(str(error)) from error

    def _record_server(
        self,
        attachment_id: str,
        before: Process | None,
        process: Process,
        ticket: str,
    ) -> None:
        """Note the process, and that it may have the key.

        Not where the attachment was ended or got another server meanwhile.

        The socket belongs to whoever is on record.
        """
        with self._database.transaction() as session:
            record = session.get(Attachment, attachment_id)
            if record is None or record.status not in STARTABLE or record.server != before:
                raise ServerFailed("it was detached meanwhile, or has another server")
            record.server = process
            _release_key(session, record, process, ticket)

    def _lacks_server(self, attachment_id: str) -> bool:
        """Whether the attachment is to be served and its last process has ended."""
        with self._database.reading() as session:
            record = session.get(Attachment, attachment_id)
        if record is None or record.status not in SERVING:
            return False
        return record.server is None or not record.server.running

    def _undo(self, attachment_id: str) -> None:
        """End what failed; where that can't be done yet, when it can."""
        try:
            self._end(attachment_id)
        except ServerFailed as error:
            log.error("server can't be ended", attachment=attachment_id, reason=str(error))

    def _end_or_refuse(self, attachment_id: str) -> None:
        try:
            self._end(attachment_id)
        except ServerFailed as error:
            raise DetachFailed(name=attachment_id, reason=error) from error

    def _is_detaching(self, attachment_id: str) -> bool:
        with self._database.reading() as session:
            record = session.get(Attachment, attachment_id)
        return record is not None and record.status == AttachmentStatus.DETACHING

    def _end(self, attachment_id: str) -> None:
        """Stop the server and forget the attachment; raises `ServerFailed` where it can't be yet.

        What has failed once is done as soon as it can be, whoever asked for it.
        """
        try:
            self._try_to_end(attachment_id)
        except Exception:
            self._endings.begin(attachment_id)
            raise

    def _try_to_end(self, attachment_id: str) -> None:
        """Do it once; nothing happens where it was done already.

        The status says `detaching`, and the ticket is void, before the process is looked up: no
        server can be started or get a key after that.
        """
        with self._database.transaction() as session:
            attachment = session.get(Attachment, attachment_id)
            if attachment is None:
                return
            volume = session.get_one(Volume, attachment.volume_id)
            advance(session, attachment, ATTACHMENT_STATES, AttachmentEvent.DETACH)
            withdraw_release(session, attachment_id)
            advance(session, volume, VOLUME_STATES, VolumeEvent.DETACH)
            server = attachment.server
        if server is not None:
            stop(server)
        self._files.remove(attachment_id)
        self._restarts.forget(attachment_id)
        self._endings.forget(attachment_id)
        with self._database.transaction() as session:
            record = session.get(Attachment, attachment_id)
            if record is not None:
                volume = session.get_one(Volume, record.volume_id)
                session.delete(record)
                advance(session, volume, VOLUME_STATES, VolumeEvent.DETACHED)

    def _recover(self) -> None:
        with self._database.reading() as session:
            attachments = list(session.scalars(select(Attachment)))
        self._files.remove_unused_reports()
        for attachment in attachments:
            try:
                self._recover_one(attachment)
            except Exception:
                # One that is stuck must not keep evsd from serving all others.
                log.exception("not recovered", attachment=attachment.id)
        self._name_strangers({self.socket_path(attachment.id) for attachment in attachments})

    def _name_strangers(self, known: set[Path]) -> None:
        """Say which servers run that no record knows, as after a database was restored."""
        for path in sorted(self._files.sockets() - known):
            if accepts(path):
                log.warning(
                    "a server that no attachment knows",
                    socket=str(path),
                    remedy="when its client is gone, end its nbdkit",
                )

    def _recover_one(self, attachment: Attachment) -> None:
        if attachment.status in UNFINISHED:
            log.warning("unfinished", attachment=attachment.id, status=attachment.status)
            self._end(attachment.id)
        elif attachment.status in SERVING and attachment.server is not None:
            # A process that has ended is reported by the watcher at once.
            self._watcher.watch(attachment.id, attachment.server)


def find(session: Session, project_id: str, attachment_id: str) -> Attachment:
    """The attachment's record in this session; a foreign one looks like a missing one."""
    attachment = session.get(Attachment, attachment_id)
    if (
        attachment is None
        or attachment.project_id != project_id
        or attachment.status == AttachmentStatus.INTERNAL
    ):
        raise AttachmentNotFound(name=attachment_id)
    return attachment


def _release_key(session: Session, record: Attachment, process: Process, ticket: str) -> None:
    volume = session.get_one(Volume, record.volume_id)
    project = session.get_one(Project, volume.project_id)
    register_release(
        session,
        record.id,
        CONSUMER.service,
        service_call(volume, project, "evsd", record.id),
        volume.cmk_id,
        encryption_context(project.id, volume.id),
        process,
        ticket,
    )


def _stays(attachment: Attachment, client: Client) -> bool:
    """Whether a client is there yet, and not only its connection."""
    return bool(client.program) or (client.device and _has_device(attachment))


def _has_device(attachment: Attachment) -> bool:
    """Whether it is there on this host, whatever has become of its server."""
    return host.find(host.identifier_of(attachment.id)) is not None


def _own(volume: Volume) -> Attachment:
    return Attachment(
        id=str(uuid.uuid4()),
        project_id=volume.project_id,
        volume_id=volume.id,
        status=AttachmentStatus.INTERNAL,
        mode="rw",
        connector={},
        created_at=utcnow(),
    )
