"""Attaching volumes: reserving one, starting its server, noting what its host made of it.

The record is the journal: it says `starting`, and that a server is wanted, before one is started.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import structlog
from sqlalchemy.orm import Session

from evsd import connector as devices
from evsd.errors import PublishedError, storage_error
from evsd.key_channel.call import Call
from evsd.services.evs.attachments.connector import Connector
from evsd.services.evs.attachments.detaching import Detaching
from evsd.services.evs.attachments.records import find
from evsd.services.evs.attachments.states import (
    ATTACHMENT_STATES,
    SERVING,
    AttachmentEvent,
    AttachmentStatus,
)
from evsd.services.evs.errors import (
    AttachFailed,
    VolumeHalfExtended,
    VolumeHalfRolledBack,
    VolumeNotAttachable,
)
from evsd.services.evs.key_context import key_use
from evsd.services.evs.limits import GIB
from evsd.services.evs.tables import Attachment, Volume
from evsd.services.evs.volumes.records import find as find_volume
from evsd.services.evs.volumes.servable import Servable
from evsd.services.evs.volumes.states import VOLUME_STATES, VolumeEvent, VolumeStatus
from evsd.services.iam.tables import Project
from evsd.serving.failures import ServerFailed
from evsd.serving.records import NewServer
from evsd.serving.supervisor import ServerSupervisor
from evsd.space import refusal
from evsd.store.database import Database, utcnow
from evsd.store.transitions import advance

# What a volume whose files nobody could bring to an end is refused with.
HALF_DONE: dict[str, type[VolumeNotAttachable]] = {
    VolumeStatus.ERROR_EXTENDING: VolumeHalfExtended,
    VolumeStatus.ERROR_ROLLBACKING: VolumeHalfRolledBack,
}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class NewAttachment:
    """What a caller asks for. Without a connector the volume is only reserved."""

    volume_id: str
    connector: Connector | None = None
    mode: str = "rw"
    instance: str | None = None


class Attaching:
    """Takes volumes from available to in use; what fails is undone."""

    def __init__(
        self,
        database: Database,
        servable: Servable,
        servers: ServerSupervisor,
        detaching: Detaching,
        host_id: str,
    ) -> None:
        self._database, self._servable, self._servers = database, servable, servers
        self._undo, self._host_id = detaching.undo, host_id

    def create(self, call: Call, wanted: NewAttachment) -> Attachment:
        """Reserve the volume, and attach it where a connector is given.

        Raises `VolumeNotFound`, `VolumeNotAttachable`, `DelegationMissing`, `VolumeKeyNotEnabled`,
        `AttachFailed`; the volume is then as it was before.
        """
        attachment = self._reserve(call, wanted)
        if wanted.connector is None:
            return attachment
        try:
            return self.serve(call, attachment.id, wanted.connector)
        except Exception:
            self._undo(attachment.id)
            raise

    def _reserve(self, call: Call, wanted: NewAttachment) -> Attachment:
        with self._database.transaction() as session:
            volume = find_volume(session, call.project_id, wanted.volume_id)
            if not advance(session, volume, VOLUME_STATES, VolumeEvent.RESERVE):
                refused = HALF_DONE.get(volume.status, VolumeNotAttachable)
                raise refused(name=volume.name, status=volume.status)
            attachment = Attachment(
                id=str(uuid.uuid4()),
                project_id=call.project_id,
                volume_id=volume.id,
                host_id=self._host_id,
                status=AttachmentStatus.RESERVED,
                mode=wanted.mode,
                instance=wanted.instance,
                connector=Connector(),
                attached_by=call.principal,
                created_at=utcnow(),
            )
            session.add(attachment)
        return attachment

    def serve(self, call: Call, attachment_id: str, connector: Connector) -> Attachment:
        """Start the server of a reserved volume. Raises as `create` does."""
        with self._database.reading() as session:
            attachment = find(session, call.project_id, attachment_id)
            volume = session.get_one(Volume, attachment.volume_id)
        self._require_servable(call, volume)
        self._note_starting(call, attachment_id, connector)
        try:
            return self._start(attachment_id)
        except ServerFailed as error:
            log.error("server did not start", attachment=attachment_id, reason=str(error))
            self._undo(attachment_id)
            raise self._failure(volume.name, error) from error
        except Exception:
            self._undo(attachment_id)
            raise

    def _require_servable(self, call: Call, volume: Volume) -> None:
        header = self._servable.header(volume)
        if header.settled < header.size:  # what would be written behind that may be thrown away
            raise AttachFailed(
                name=volume.name,
                reason="its file is being extended, and its record does not know; "
                f"evsctl extend {volume.name} --size {header.size // GIB}G finishes that",
            )
        self._servable.check_key(call, volume, header)

    def _note_starting(self, call: Call, attachment_id: str, connector: Connector) -> None:
        with self._database.transaction() as session:
            attachment = find(session, call.project_id, attachment_id)
            volume = session.get_one(Volume, attachment.volume_id)
            found = {
                "connector": connector,
                "attached_by": call.principal,
                "host_id": self._host_id,
            }
            if not advance(session, attachment, ATTACHMENT_STATES, AttachmentEvent.SERVE, **found):
                raise VolumeNotAttachable(name=volume.name, status=attachment.status)
            advance(session, volume, VOLUME_STATES, VolumeEvent.ATTACH)
            server = NewServer(
                id=attachment.id,
                disk_id=volume.id,
                key=key_use(volume, session.get_one(Project, volume.project_id)),
                read_only=attachment.mode == "ro",
                owner_uid=call.unix_user,
                device=_device(attachment.id, connector),
            )
            self._servers.records.plan(session, server)

    def _start(self, attachment_id: str) -> Attachment:
        self._servers.launch(attachment_id)
        with self._database.transaction() as session:
            attachment = session.get(Attachment, attachment_id)
            if attachment is None or not self._note_served(session, attachment):
                raise ServerFailed("it was detached meanwhile")
        self._servers.look_after(attachment_id)
        return attachment

    def _note_served(self, session: Session, attachment: Attachment) -> bool:
        event, now = AttachmentEvent.SERVED, utcnow()
        served = advance(session, attachment, ATTACHMENT_STATES, event, attached_at=now)
        return served and self._servers.records.keep(session, attachment.id)

    def _failure(self, name: str, error: ServerFailed) -> PublishedError:
        directory = self._servers.directory
        full = refusal(directory)
        if full is None:
            return AttachFailed(name=name, reason=error)
        what = f"the server of volume {name} did not start: the state directory"
        return storage_error(what, directory.parent, full)

    def note_connector(self, call: Call, attachment_id: str, connector: Connector) -> Attachment:
        """Note another connector of an attached volume, as with the device that was made."""
        with self._database.transaction() as session:
            attachment = find(session, call.project_id, attachment_id)
            if attachment.status not in SERVING:
                name = session.get_one(Volume, attachment.volume_id).name
                raise VolumeNotAttachable(name=name, status=attachment.status)
            attachment.connector = connector
            device = _device(attachment_id, connector)
            self._servers.records.note_device(session, attachment_id, device)
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


def _device(attachment_id: str, connector: Connector) -> str:
    return devices.identifier_of(attachment_id) if connector.wants_device else ""
