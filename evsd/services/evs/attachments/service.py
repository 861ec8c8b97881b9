"""Attachments: who has which volume. Above the servers of `evsd.serving`, which know of none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from evsd.key_channel.call import Call
from evsd.resource import Resource
from evsd.services.evs.attachments.attaching import Attaching
from evsd.services.evs.attachments.connector import Connector
from evsd.services.evs.attachments.detaching import Detaching
from evsd.services.evs.attachments.health import ServerState, server_state
from evsd.services.evs.attachments.records import find, find_all
from evsd.services.evs.attachments.resizing import Resizing
from evsd.services.evs.attachments.states import SERVING
from evsd.services.evs.tables import Attachment, Volume
from evsd.services.evs.volumes.servable import Servable
from evsd.serving.connected_clients import Client
from evsd.serving.supervisor import ServerSupervisor
from evsd.store.database import Database


class AttachmentService(Resource):
    """The attachments of all projects."""

    def __init__(
        self,
        database: Database,
        servable: Servable,
        servers: ServerSupervisor,
        host_id: str,
        detached: Callable[[], None],
    ) -> None:
        """`detached` is called when a volume is available again."""
        self._database, self._servers = database, servers
        self._detaching = Detaching(database, servers, host_id, detached)
        self._attaching = Attaching(database, servable, servers, self._detaching, host_id)
        self.create, self.complete = self._attaching.create, self._attaching.complete
        self.detach = self._detaching.detach
        self._resizing = Resizing(servable, servers)

    def start(self) -> None:
        """End what the last run of evsd left unfinished."""
        self._detaching.end_unfinished()

    def close(self) -> None:
        """End no more attachments."""
        self._detaching.close()

    def update(self, call: Call, attachment_id: str, connector: Connector) -> Attachment:
        """Cinder's update: attach a reserved volume, or note what the host made of a served one."""
        attached = self.show(call.project_id, attachment_id).status in SERVING
        serve = self._attaching.note_connector if attached else self._attaching.serve
        return serve(call, attachment_id, connector)

    def show(self, project_id: str, attachment_id: str) -> Attachment:
        """One attachment; raises `AttachmentNotFound`, for a foreign project's too."""
        with self._database.reading() as session:
            return find(session, project_id, attachment_id)

    def list_all(self, project_id: str, volume_id: str | None = None) -> list[Attachment]:
        """A project's attachments, oldest first; those of one volume if asked."""
        with self._database.reading() as session:
            return find_all(session, project_id, volume_id)

    def tell_size(self, call: Call, volume: Volume) -> str:
        """Have the clients of a volume that was extended see that, if any can; else what to say."""
        found = self.list_all(call.project_id, volume.id)
        return "; ".join(filter(None, (self._resizing.tell(call, volume, one) for one in found)))

    def socket_path(self, attachment_id: str) -> Path:
        """The unix socket on which the attachment's volume is served."""
        return self._servers.socket(attachment_id)

    def clients(self, attachment: Attachment) -> list[Client]:
        """Who is connected to the attachment's server now; a lost connection is none."""
        return self._servers.clients(attachment.id)

    def server_state(self, attachment: Attachment) -> ServerState | None:
        """What its server is like now."""
        return server_state(attachment, self._servers)
