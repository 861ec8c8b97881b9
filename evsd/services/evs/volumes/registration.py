"""Registering a volume again from its file and the KMS alone.

The file names its project, its key and itself; none of that is believed before the KMS has
unwrapped the data key, which authenticates all three. A file is named, never a path: only what
lies in the pool under a volume's id, and is nobody's yet, can be registered.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace

import structlog
from sqlalchemy.exc import IntegrityError

from evsd.key_channel.call import Call
from evsd.key_client.process import KeyProcess
from evsd.layers.recovery import FoundSnapshot
from evsd.pools.pool import Pool, PoolError, VolumeMissing
from evsd.services.evs.errors import (
    VolumeFileInvalid,
    VolumeFileNotFound,
    VolumeProjectMismatch,
)
from evsd.services.evs.key_context import encryption_context
from evsd.services.evs.limits import GIB
from evsd.services.evs.snapshots.records import add_record as add_snapshot
from evsd.services.evs.snapshots.records import recovered
from evsd.services.evs.tables import Volume
from evsd.services.evs.volumes.records import add_record
from evsd.services.evs.volumes.states import VolumeStatus
from evsd.services.iam.tables import Project
from evsd.services.kms.operations import RecoverKey
from evsd.serving.snapshots import DiskSnapshots
from evsd.store.database import Database, utcnow
from nbd_plugin import luks2

FILE_NAME = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.luks")

log = structlog.get_logger()


class VolumeRegistration:
    """Files of the pool that have no record."""

    def __init__(
        self, database: Database, keys: KeyProcess, pool: Pool, disks: DiskSnapshots
    ) -> None:
        self._database, self._keys = database, keys
        self._pool, self._disks = pool, disks

    def register(self, call: Call, file_name: str, name: str | None) -> Volume:
        """Register the volume in the project its file names, which is made anew if it is gone.

        Its snapshots with it: all layers have to be there, and all keys of a clone. Raises
        `VolumeFileNotFound`, also for a file that is registered; `VolumeFileInvalid`,
        `VolumeProjectMismatch`, `VolumeNameTaken`, and what the KMS refuses with.
        """
        header, snapshots = self._header(file_name)
        project_id = header.context["project_id"]
        made = self._own_project(call, project_id, file_name)
        owner = replace(call, project_id=project_id)
        try:
            for each in self._disks.keys(header.uuid):
                self._keys.call(owner, RecoverKey(each.cmk_id, each.wrapped_dek, each.context))
            name = name or f"recovered-{header.uuid[:8]}"
            return self._register(owner, header, snapshots, name)
        except Exception:
            if made:
                self._forget_project(project_id)
            raise

    def _header(self, file_name: str) -> tuple[luks2.Header, list[FoundSnapshot]]:
        match = FILE_NAME.fullmatch(file_name)
        if match is None or self._is_registered(match[1]):
            raise VolumeFileNotFound(name=file_name)
        try:
            self._pool.unused_header(match[1])  # of what is no file nothing is touched
            snapshots = self._disks.recover(match[1])
            header = self._pool.unused_header(match[1])
        except VolumeMissing as error:
            raise VolumeFileNotFound(name=file_name) from error
        except PoolError as error:
            raise VolumeFileInvalid(name=file_name, reason=error) from error
        if not header.settled:
            raise VolumeFileInvalid(
                name=file_name, reason="its creation never ended, it holds nothing"
            )
        project_id = header.context.get("project_id", "")
        if header.uuid != match[1] or header.size % GIB or not project_id:
            raise VolumeFileInvalid(
                name=file_name, reason="it is another volume's, or of another make"
            )
        if header.context != encryption_context(project_id, header.uuid):
            raise VolumeFileInvalid(
                name=file_name, reason="its encryption context is not a volume's"
            )
        return header, snapshots

    def _is_registered(self, volume_id: str) -> bool:
        with self._database.reading() as session:
            return session.get(Volume, volume_id) is not None

    def _own_project(self, call: Call, project_id: str, file_name: str) -> bool:
        """See to it that the project is the caller's; returns whether it had to be made.

        A project nobody knows may have been any tenant's: that is why only the operator of the
        host recovers.
        """
        if project_id == call.project_id:
            return False
        with self._database.transaction() as session:
            project = session.get(Project, project_id)
            if project is not None and project.domain_id == call.domain_id:
                raise VolumeProjectMismatch(name=file_name, project=project.name)
            if project is not None:
                raise VolumeFileNotFound(name=file_name)
            region = session.get_one(Project, call.project_id).region
            name = f"recovered-{project_id[:8]}"
            made = Project(id=project_id, domain_id=call.domain_id, name=name, region=region)
            session.add(made)
        return True

    def _forget_project(self, project_id: str) -> None:
        # Where its key is registered by now, the project stays.
        with contextlib.suppress(IntegrityError), self._database.transaction() as session:
            session.delete(session.get_one(Project, project_id))

    def _register(
        self, owner: Call, header: luks2.Header, snapshots: list[FoundSnapshot], name: str
    ) -> Volume:
        now, size = utcnow(), header.size
        if header.settled < size:
            size = self._pool.shrink(header.uuid)  # an extension never ended: nothing is in it
        volume = Volume(
            id=header.uuid,
            project_id=owner.project_id,
            name=name,
            description="",
            size_gib=size // GIB,
            volume_type="SSD",
            availability_zone="local",
            status=VolumeStatus.AVAILABLE,
            thin=header.thin,
            cmk_id=header.cmk_id,
            wrapped_dek=header.wrapped_dek,
            extra_metadata={},
            tags={},
            user_name=owner.principal,
            user_id=owner.user_id,
            created_at=now,
            updated_at=now,
        )
        with self._database.transaction() as session:
            add_record(session, volume)
            for found in snapshots:
                add_snapshot(session, recovered(volume, found))
        log.warning("volume recovered", volume=volume.id, user=owner.principal)
        return volume
