"""Serving a volume to evsd itself, while it is in a state in which nobody can attach it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evsd.services.evs.errors import AttachFailed, DetachFailed
from evsd.services.evs.key_context import key_use, service_call
from evsd.services.evs.tables import Volume
from evsd.services.evs.volumes.servable import Servable
from evsd.services.iam.tables import Project
from evsd.serving.failures import ServerFailed, ServerNotEnded
from evsd.serving.supervisor import ServerSupervisor
from evsd.store.database import Database


class OwnUse:
    """The servers that evsd starts for itself, refused in the words of EVS."""

    def __init__(self, database: Database, servable: Servable, servers: ServerSupervisor) -> None:
        self._database, self._servable, self._servers = database, servable, servers

    @contextmanager
    def serve(self, volume_id: str, *, read_only: bool = False) -> Iterator[Path]:
        """Serve it until the block ends, on the socket this gives.

        Raises `DelegationMissing`, `VolumeKeyNotEnabled`, `AttachFailed`; `DetachFailed` where a
        server can't be ended, see `end`.
        """
        self.end(volume_id)
        with self._database.reading() as session:
            volume = session.get_one(Volume, volume_id)
            project = session.get_one(Project, volume.project_id)
        call = service_call(volume, project, "evsd", volume.id)
        self._servable.check_key(call, volume, self._servable.header(volume))
        use = key_use(volume, project)
        serving = self._servers.own_use(volume_id, use, read_only=read_only)
        with _told_of(volume_id, volume.name), serving as socket:
            yield socket

    def end(self, volume_id: str) -> None:
        """End what is still served, as where it could not be ended yet.

        Raises `DetachFailed` where it still can't be: it has the volume's file, and may write to
        it yet.
        """
        with _told_of(volume_id, volume_id):
            self._servers.end_own_use(volume_id)


@contextmanager
def _told_of(volume_id: str, name: str) -> Iterator[None]:
    try:
        yield
    except ServerNotEnded as error:
        raise DetachFailed(name=volume_id, reason=error) from error
    except ServerFailed as error:
        raise AttachFailed(name=name, reason=error) from error
