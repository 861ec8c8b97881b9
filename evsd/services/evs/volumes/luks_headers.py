"""Backing up what is before a volume's data, and putting it back where the disk has lost it.

A backup is the first MiB of the volume's file, as `cryptsetup luksHeaderBackup` writes it too. It
holds the data key in its wrapped form only. Nothing of a backup is believed before evsd-keys has
found in it the very data key of the volume's record.
"""

from __future__ import annotations

import os

import structlog

from evsd.key_channel.call import Call
from evsd.key_client.process import KeyProcess
from evsd.pools.pool import Pool, PoolError, VolumeBusy
from evsd.services.evs.consumer import CONSUMER
from evsd.services.evs.errors import (
    PoolFailed,
    VolumeHeaderBusy,
    VolumeHeaderInvalid,
    VolumeHeaderUnreadable,
    VolumeKeyNotEnabled,
)
from evsd.services.evs.key_context import encryption_context
from evsd.services.evs.limits import GIB
from evsd.services.evs.tables import Volume
from evsd.services.evs.volumes.records import find
from evsd.services.evs.volumes.states import VolumeStatus
from evsd.services.kms.errors import CiphertextInvalid, KeyNotFound, KeyUnusable
from evsd.services.kms.operations import CompareServiceKeys
from evsd.store.database import Database
from nbd_plugin import luks2

BACKUP_LENGTH = luks2.DATA_OFFSET
RESTORABLE = (VolumeStatus.AVAILABLE, VolumeStatus.ERROR_EXTENDING)
# Far more than any header of ours has: evsd-keys does nothing else meanwhile.
MAX_ITERATIONS = 100_000

log = structlog.get_logger()


class VolumeHeaders:
    """The headers of all projects' volumes."""

    def __init__(self, database: Database, keys: KeyProcess, pool: Pool) -> None:
        self._database, self._keys, self._pool = database, keys, pool

    def backup(self, call: Call, volume_id: str) -> bytes:
        """The header of a volume, in use or not; raises `VolumeHeaderUnreadable`."""
        volume = self._volume(call, volume_id)
        try:
            area = self._pool.header_area(volume_id)
            _check(_parsed(area), volume)
        except (PoolError, luks2.HeaderError) as error:
            raise VolumeHeaderUnreadable(name=volume.name, reason=error) from error
        log.info("header backed up", volume=volume_id, user=call.principal)
        return area

    def restore(self, call: Call, volume_id: str, backup: bytes) -> Volume:
        """Put a backup back, whatever is there now, with the size that the volume has by now.

        Raises `VolumeHeaderBusy` unless nobody uses the volume, `VolumeHeaderInvalid` for what is
        no backup of it, `VolumeKeyNotEnabled`, `DelegationMissing`, `PoolFailed`.
        """
        volume = self._volume(call, volume_id)
        if volume.status not in RESTORABLE:
            raise VolumeHeaderBusy(name=volume.name, reason=f"it is {volume.status}")
        try:
            header = _parsed(backup)
            _check(header, volume)
        except luks2.HeaderError as error:
            raise VolumeHeaderInvalid(name=volume.name, reason=error) from error
        self._require_its_key(call, volume, header)
        try:
            keyslots = backup[luks2.HEADER_LENGTH :]
            self._pool.restore_header(header, keyslots, volume.size_gib * GIB)
        except VolumeBusy as error:
            raise VolumeHeaderBusy(name=volume.name, reason=error) from error
        except PoolError as error:
            raise PoolFailed(name=volume.name, reason=error) from error
        log.warning("header restored", volume=volume_id, user=call.principal)
        return volume

    def _volume(self, call: Call, volume_id: str) -> Volume:
        with self._database.reading() as session:
            return find(session, call.project_id, volume_id)

    def _require_its_key(self, call: Call, volume: Volume, header: luks2.Header) -> None:
        try:
            same = self._keys.call(
                call,
                CompareServiceKeys(
                    service=CONSUMER.service,
                    key_id=volume.cmk_id,
                    wrapped_deks=[volume.wrapped_dek, header.wrapped_dek],
                    context=header.context,
                    digest_salt=header.digest_salt,
                    digest_iterations=header.digest_iterations,
                    digest=header.digest,
                ),
            )
        except CiphertextInvalid as error:
            raise VolumeHeaderInvalid(name=volume.name, reason=error.message) from error
        except (KeyUnusable, KeyNotFound) as error:
            raise VolumeKeyNotEnabled(
                reason=f"the header of volume {volume.name} can't be checked: {error.text}"
            ) from error
        if not same:
            raise VolumeHeaderInvalid(name=volume.name, reason="it is of another data key")


def _parsed(area: bytes) -> luks2.Header:
    """The header in a backup; raises `HeaderError`."""
    if len(area) != BACKUP_LENGTH:
        raise luks2.HeaderError(f"it has {len(area)} bytes, a backup of a header {BACKUP_LENGTH}")
    fd = os.memfd_create("header")
    try:
        os.write(fd, area[: luks2.HEADER_LENGTH])
        return luks2.read(fd)
    finally:
        os.close(fd)


def _check(header: luks2.Header, volume: Volume) -> None:
    """Raise `HeaderError` unless it can be this volume's, as far as that can be seen."""
    if header.uuid != volume.id:
        raise luks2.HeaderError(f"it is of volume {header.uuid}")
    context = encryption_context(volume.project_id, volume.id)
    if (header.context, header.cmk_id) != (context, volume.cmk_id):
        raise luks2.HeaderError("its project or its key is another")
    if header.thin != volume.thin:
        kinds = ("thick", "thin") if volume.thin else ("thin", "thick")
        raise luks2.HeaderError(f"it is of a {kinds[0]} volume, this one is {kinds[1]}")
    if header.settled > volume.size_gib * GIB:
        raise luks2.HeaderError("it is of a time when the volume was larger")
    if header.digest_iterations > MAX_ITERATIONS:
        raise luks2.HeaderError("its digest is not of evsd's making")
