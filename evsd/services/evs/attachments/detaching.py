"""Ending attachments: those that somebody detaches, those that failed, those left unfinished.

The record says `detaching`, and the ticket is void, before the server is looked up. What has
failed once is done as soon as it can be, whoever asked for it.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
from sqlalchemy import select

from evsd.key_channel.call import Call
from evsd.resource import Resource
from evsd.services.evs.attachments.records import find
from evsd.services.evs.attachments.states import (
    ATTACHMENT_STATES,
    SERVING,
    AttachmentEvent,
    AttachmentStatus,
)
from evsd.services.evs.attachments.users import await_no_users, users
from evsd.services.evs.errors import DetachFailed
from evsd.services.evs.tables import Attachment, Volume
from evsd.services.evs.volumes.states import VOLUME_STATES, VolumeEvent
from evsd.serving.connected_clients import Client
from evsd.serving.failures import ServerFailed
from evsd.serving.retries import Retries
from evsd.serving.supervisor import ServerSupervisor
from evsd.store.database import Database
from evsd.store.transitions import advance

# States in which only evsd's end can have left one.
UNFINISHED = (AttachmentStatus.STARTING, AttachmentStatus.DETACHING)

log = structlog.get_logger()


class Detaching(Resource):
    """Makes volumes available that are attached, or were to be."""

    def __init__(
        self,
        database: Database,
        servers: ServerSupervisor,
        host_id: str,
        detached: Callable[[], None] = lambda: None,
    ) -> None:
        """`detached` is called when a volume is available again."""
        self._detached = detached
        self._database, self._servers, self._host_id = database, servers, host_id
        self._retries = Retries(
            self._is_detaching,
            self._try_to_end,
            begins="server could not be ended, that is tried again",
            fails="server can't be ended",
        )

    def close(self) -> None:
        """Try no more; the next run of evsd does."""
        self._retries.close()

    def end_unfinished(self) -> None:
        """End what the last run of evsd on this host was starting or ending."""
        unfinished = select(Attachment).where(
            Attachment.status.in_(UNFINISHED), Attachment.on(self._host_id)
        )
        with self._database.reading() as session:
            attachments = list(session.scalars(unfinished))
        for attachment in attachments:
            log.warning("unfinished", attachment=attachment.id, status=attachment.status)
            try:
                self._end(attachment.id)
            except Exception:
                # One that is stuck must not keep evsd from serving all others.
                log.exception("not ended", attachment=attachment.id)

    def detach(self, call: Call, attachment_id: str, *, force: bool = False) -> list[Client]:
        """End the server, when it has flushed, and make the volume available.

        Of two callers the second waits for the first. Raises `VolumeInUse` where somebody is
        connected, whom `force` takes the disk away from: they are returned. Raises `DetachFailed`
        if the server can't be ended; the volume is then `detaching` until it can, without another
        call.
        """
        with self._database.reading() as session:
            attachment = find(session, call.project_id, attachment_id)
            name = session.get_one(Volume, attachment.volume_id).name
        losers = users(attachment, self._servers) if attachment.status in SERVING else []
        if losers and not force:
            await_no_users(attachment, name, self._servers)
            losers = []
        if losers:
            said = [str(client) for client in losers]
            log.warning("detached by force", attachment=attachment_id, clients=said)
        try:
            self._end(attachment_id)
        except ServerFailed as error:
            raise DetachFailed(name=attachment_id, reason=error) from error
        return losers

    def undo(self, attachment_id: str) -> None:
        """End what failed; where that can't be done yet, when it can."""
        try:
            self._end(attachment_id)
        except ServerFailed as error:
            log.error("server can't be ended", attachment=attachment_id, reason=str(error))

    def _is_detaching(self, attachment_id: str) -> bool:
        with self._database.reading() as session:
            record = session.get(Attachment, attachment_id)
        return record is not None and record.status == AttachmentStatus.DETACHING

    def _end(self, attachment_id: str) -> None:
        """Raises `ServerFailed` where it can't be done yet."""
        try:
            self._try_to_end(attachment_id)
        except Exception:
            self._retries.begin(attachment_id)
            raise

    def _try_to_end(self, attachment_id: str) -> None:
        """Do it once; nothing happens where it was done already."""
        with self._database.transaction() as session:
            attachment = session.get(Attachment, attachment_id)
            if attachment is None:
                return
            volume = session.get_one(Volume, attachment.volume_id)
            advance(session, attachment, ATTACHMENT_STATES, AttachmentEvent.DETACH)
            advance(session, volume, VOLUME_STATES, VolumeEvent.DETACH)
        self._servers.end(attachment_id)
        self._retries.forget(attachment_id)
        with self._database.transaction() as session:
            record = session.get(Attachment, attachment_id)
            if record is not None:
                volume = session.get_one(Volume, record.volume_id)
                session.delete(record)
                advance(session, volume, VOLUME_STATES, VolumeEvent.DETACHED)
        self._detached()
