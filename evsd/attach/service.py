"""Attaching and detaching volumes, and what becomes of their servers.

The record is the journal: it says `starting` before a server is started and `detaching` before
one is stopped. `recover` brings every record and every process back together at start: servers
that still run are adopted, interrupted starts and stops are finished.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from evsd.attach.server import (
    ServerFailed,
    ServerProcess,
    ServerSettings,
    WaitingServer,
    new_ticket,
)
from evsd.attach.states import ATTACHMENT_STATES, SERVING, AttachmentEvent, AttachmentStatus
from evsd.attach.watcher import Watcher
from evsd.errors import (
    AttachFailed,
    AttachmentNotFound,
    DetachFailed,
    KeyNotFound,
    KeyUnusable,
    VolumeKeyNotEnabled,
    VolumeNotAttachable,
)
from evsd.kms.call import Call
from evsd.kms.client import KeyProcess
from evsd.kms.context import encryption_context
from evsd.kms.crypto import ticket_digest
from evsd.pools.file import FilePool
from evsd.resource import Resource
from evsd.store.database import Database, utcnow
from evsd.store.tables import Attachment, Volume
from evsd.store.transitions import advance
from evsd.volumes.service import find as find_volume
from evsd.volumes.states import VOLUME_STATES, VolumeEvent
from nbd_plugin import luks2

SOCKET_NAME_LENGTH = 12

# A server that dies is started again, the later the oftener it died in this window.
RESTART_WINDOW_S, LONGEST_PAUSE_S = 300.0, 30.0
# States in which a server may be started: for the first time, or again.
STARTABLE = SERVING | {AttachmentStatus.STARTING}

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
        self, database: Database, keys: KeyProcess, pool: FilePool, directory: Path
    ) -> None:
        self._database, self._keys, self._pool = database, keys, pool
        self._directory = directory
        self._watcher = Watcher(self._server_ended)
        self._restarts: defaultdict[str, deque[float]] = defaultdict(deque)
        self._stopping = threading.Event()

    def start(self) -> None:
        """Watch servers, those of the last run of evsd among them."""
        self._watcher.start()
        self._recover()

    def close(self) -> None:
        """Stop watching; the servers go on, the next run of evsd adopts them."""
        self._stopping.set()
        self._watcher.close()

    def socket_path(self, attachment_id: str) -> Path:
        """The unix socket on which the attachment's volume is served.

        Named by a part of the id that tells it well enough: a socket's path is short.
        """
        return self._directory / f"{attachment_id.replace('-', '')[:SOCKET_NAME_LENGTH]}.sock"

    # --- the life of an attachment -------------------------------------------------------------

    def create(self, call: Call, wanted: NewAttachment) -> Attachment:
        """Reserve the volume, and attach it where a connector is given.

        Raises `VolumeNotFound`, `VolumeNotAttachable`, `NotDelegated`, `VolumeKeyNotEnabled`,
        `AttachFailed`; the volume is then as it was before.
        """
        with self._database.transaction() as session:
            volume = find_volume(session, call.project_id, wanted.volume_id)
            if not advance(session, volume, VOLUME_STATES, VolumeEvent.RESERVE):
                raise VolumeNotAttachable(name=volume.name, status=volume.status)
            attachment = Attachment(
                id=str(uuid.uuid4()),
                project_id=call.project_id,
                volume_id=volume.id,
                status=AttachmentStatus.RESERVED,
                mode=wanted.mode,
                instance=wanted.instance,
                connector={},
                created_at=utcnow(),
            )
            session.add(attachment)
        if not wanted.connector:
            return attachment
        try:
            return self.serve(call, attachment.id, wanted.connector)
        except Exception:
            self._end(attachment.id)
            raise

    def serve(self, call: Call, attachment_id: str, connector: dict[str, Any]) -> Attachment:
        """Start the server of a reserved volume, or note another connector of a served one."""
        with self._database.reading() as session:
            attachment = find(session, call.project_id, attachment_id)
            volume = session.get_one(Volume, attachment.volume_id)
        if attachment.status in SERVING:
            return self._note_connector(attachment_id, connector)
        self._check_key(call, volume, self._header(volume))
        with self._database.transaction() as session:
            attachment = find(session, call.project_id, attachment_id)
            event = AttachmentEvent.SERVE
            if not advance(session, attachment, ATTACHMENT_STATES, event, connector=connector):
                raise VolumeNotAttachable(name=volume.name, status=attachment.status)
            volume = session.get_one(Volume, attachment.volume_id)
            advance(session, volume, VOLUME_STATES, VolumeEvent.ATTACH)
        try:
            return self._serve(attachment_id)
        except ServerFailed as error:
            log.error("server did not start", attachment=attachment_id, reason=str(error))
            self._end(attachment_id)
            raise AttachFailed(name=volume.name, reason=error) from error
        except Exception:
            self._end(attachment_id)
            raise

    def _serve(self, attachment_id: str) -> Attachment:
        process = self._start_server(attachment_id, replaces=None)
        with self._database.transaction() as session:
            attachment = session.get(Attachment, attachment_id)
            event, now = AttachmentEvent.SERVED, utcnow()
            if attachment is None or not advance(
                session, attachment, ATTACHMENT_STATES, event, attached_at=now
            ):
                raise ServerFailed("it was detached meanwhile")
        if not process.running:  # its end was not dealt with while the record said `starting`
            self._server_ended(attachment_id, process)
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

    def detach(self, call: Call, attachment_id: str) -> None:
        """End the server, when it has flushed, and make the volume available.

        Of two callers the second waits for the first. Raises `DetachFailed` if the server can't be
        ended; the volume then stays `detaching`, and detaching can be tried again.
        """
        self.show(call.project_id, attachment_id)
        try:
            self._end(attachment_id)
        except ServerFailed as error:
            raise DetachFailed(name=attachment_id, reason=error) from error

    def show(self, project_id: str, attachment_id: str) -> Attachment:
        """One attachment; raises `AttachmentNotFound`, for a foreign project's too."""
        with self._database.reading() as session:
            return find(session, project_id, attachment_id)

    def list_all(self, project_id: str, volume_id: str | None = None) -> list[Attachment]:
        """A project's attachments, oldest first; those of one volume if asked."""
        query = select(Attachment).where(Attachment.project_id == project_id)
        if volume_id is not None:
            query = query.where(Attachment.volume_id == volume_id)
        with self._database.reading() as session:
            return list(session.scalars(query.order_by(Attachment.created_at)))

    # --- servers -------------------------------------------------------------------------------

    def _header(self, volume: Volume) -> luks2.Header:
        """What the volume's file holds; refuses one that is gone, broken or another volume's."""
        try:
            header = self._pool.header(volume.id)
        except OSError as error:
            raise AttachFailed(name=volume.name, reason=f"its file: {error.strerror}") from error
        except luks2.HeaderError as error:
            raise AttachFailed(name=volume.name, reason=f"its file: {error}") from error
        if header.uuid != volume.id:
            raise AttachFailed(name=volume.name, reason=f"its file is that of volume {header.uuid}")
        return header

    def _check_key(self, call: Call, volume: Volume, header: luks2.Header) -> None:
        """Refuse now what the server would be refused when its first client comes."""
        try:
            self._keys.call(
                "check_volume_key",
                call,
                key_id=volume.cmk_id,
                wrapped_dek=header.wrapped_dek.hex(),
                context=encryption_context(volume.project_id, volume.id),
            )
        except (KeyUnusable, KeyNotFound) as error:
            raise VolumeKeyNotEnabled(
                reason=f"volume {volume.name} can't be attached: {error.text}"
            ) from error

    def _start_server(self, attachment_id: str, replaces: ServerProcess | None) -> ServerProcess:
        """Start the server that follows `replaces`; raises `ServerFailed`."""
        with self._database.reading() as session:
            attachment = session.get(Attachment, attachment_id)
        if attachment is None:
            raise ServerFailed("it was detached meanwhile")
        settings = ServerSettings(
            attachment_id=attachment.id,
            volume_file=self._pool.path(attachment.volume_id),
            socket=self.socket_path(attachment.id),
            log=self._log_path(attachment.id),
            release_socket=self._keys.release_socket,
            read_only=attachment.mode == "ro",
        )
        ticket = new_ticket()
        with WaitingServer(settings) as server:
            self._record_server(attachment_id, replaces, server.process, ticket)
            server.release(ticket)
            self._watcher.watch(attachment_id, server.process)
            server.await_ready()
        log.info("server started", attachment=attachment_id, pid=server.process.pid)
        return server.process

    def _record_server(
        self,
        attachment_id: str,
        replaces: ServerProcess | None,
        process: ServerProcess,
        ticket: str,
    ) -> None:
        """Note the process, unless the attachment was ended or got another server meanwhile."""
        with self._database.transaction() as session:
            record = session.get(Attachment, attachment_id)
            if record is None or record.status not in STARTABLE or _process(record) != replaces:
                raise ServerFailed("it was detached meanwhile, or has another server")
            record.server_pid, record.server_start = process.pid, process.started
            record.ticket_sha256 = ticket_digest(ticket)

    def _server_ended(self, attachment_id: str, process: ServerProcess) -> None:
        """Start a server again that nobody asked to end, on a thread of its own."""
        if self._should_run(attachment_id, process):
            log.error("server died", attachment=attachment_id, pid=process.pid)
            arguments = (attachment_id, process)
            threading.Thread(target=self._restart, args=arguments, daemon=True).start()

    def _restart(self, attachment_id: str, process: ServerProcess) -> None:
        """Try until it runs or is not wanted any more, with growing pauses."""
        for pause in self._pauses(attachment_id):
            if self._stopping.wait(pause) or not self._should_run(attachment_id, process):
                return
            try:
                self._start_server(attachment_id, replaces=process)
            except ServerFailed as error:
                log.error("server did not start", attachment=attachment_id, reason=str(error))
            except Exception:
                log.exception("server did not start", attachment=attachment_id)
            else:
                return

    def _pauses(self, attachment_id: str) -> Iterator[float]:
        """Nothing before the first restart, more the more there were in the last minutes."""
        while True:
            now, times = time.monotonic(), self._restarts[attachment_id]
            while times and times[0] < now - RESTART_WINDOW_S:
                times.popleft()
            pause = min(LONGEST_PAUSE_S, 0.1 * 2 ** len(times)) if times else 0
            times.append(now)
            yield pause

    def _should_run(self, attachment_id: str, process: ServerProcess) -> bool:
        """Whether the attachment is to be served and this is its last process."""
        with self._database.reading() as session:
            record = session.get(Attachment, attachment_id)
        return record is not None and record.status in SERVING and _process(record) == process

    def _end(self, attachment_id: str) -> None:
        """Stop the server and forget the attachment; nothing happens where that was done already.

        The status says `detaching`, and the ticket is void, before the process is looked up: no
        server can be started or get a key after that.
        """
        with self._database.transaction() as session:
            attachment = session.get(Attachment, attachment_id)
            if attachment is None:
                return
            volume = session.get_one(Volume, attachment.volume_id)
            event = AttachmentEvent.DETACH
            advance(session, attachment, ATTACHMENT_STATES, event, ticket_sha256=None)
            advance(session, volume, VOLUME_STATES, VolumeEvent.DETACH)
            process = _process(attachment)
        if process is not None:
            process.stop()
        self.socket_path(attachment_id).unlink(missing_ok=True)
        self._log_path(attachment_id).unlink(missing_ok=True)
        self._restarts.pop(attachment_id, None)
        with self._database.transaction() as session:
            record = session.get(Attachment, attachment_id)
            if record is not None:
                volume = session.get_one(Volume, record.volume_id)
                session.delete(record)
                advance(session, volume, VOLUME_STATES, VolumeEvent.DETACHED)

    def _recover(self) -> None:
        with self._database.reading() as session:
            attachments = list(session.scalars(select(Attachment)))
        for attachment in attachments:
            try:
                self._recover_one(attachment)
            except Exception:
                # One that is stuck must not keep evsd from serving all others.
                log.exception("not recovered", attachment=attachment.id)

    def _recover_one(self, attachment: Attachment) -> None:
        process = _process(attachment)
        if attachment.status in (AttachmentStatus.STARTING, AttachmentStatus.DETACHING):
            log.warning("unfinished", attachment=attachment.id, status=attachment.status)
            self._end(attachment.id)
        elif attachment.status in SERVING and process is not None:
            # A process that has ended is reported by the watcher at once.
            self._watcher.watch(attachment.id, process)

    def _log_path(self, attachment_id: str) -> Path:
        return self._directory / f"{attachment_id}.log"


def find(session: Session, project_id: str, attachment_id: str) -> Attachment:
    """The attachment's record in this session; a foreign one looks like a missing one."""
    attachment = session.get(Attachment, attachment_id)
    if attachment is None or attachment.project_id != project_id:
        raise AttachmentNotFound(name=attachment_id)
    return attachment


def _process(attachment: Attachment) -> ServerProcess | None:
    if attachment.server_pid is None or attachment.server_start is None:
        return None
    return ServerProcess(attachment.server_pid, attachment.server_start)
