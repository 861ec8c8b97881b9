"""EVS: volumes, and their attachments to hosts."""

from __future__ import annotations

from evsd.service import Host, Service
from evsd.services.evs.attachments.service import AttachmentService
from evsd.services.evs.snapshots.groups import SnapshotGroups
from evsd.services.evs.snapshots.metadata import SnapshotMetadata
from evsd.services.evs.snapshots.service import SnapshotService
from evsd.services.evs.snapshots.usage import PoolUsage
from evsd.services.evs.volumes.images import OfferedImages
from evsd.services.evs.volumes.luks_headers import VolumeHeaders
from evsd.services.evs.volumes.metadata import VolumeMetadata
from evsd.services.evs.volumes.new_volumes import NewVolumes
from evsd.services.evs.volumes.own_use import OwnUse
from evsd.services.evs.volumes.quotas import QuotaService
from evsd.services.evs.volumes.registration import VolumeRegistration
from evsd.services.evs.volumes.servable import Servable
from evsd.services.evs.volumes.service import VolumeService
from evsd.services.evs.volumes.tags import VolumeTags
from evsd.serving.snapshots import DiskSnapshots


class EvsService(Service):
    """Its parts."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        database, keys, pool = host.database, host.keys, host.pool
        servable = Servable(keys, pool)
        self.disks = disks = DiskSnapshots(pool, host.servers)
        self.snapshots = SnapshotService(database, pool, disks, host.jobs)
        self.attachments = AttachmentService(
            database, servable, host.servers, host.id, self.snapshots.sweep
        )
        self.own_use = own_use = OwnUse(database, servable, host.servers)
        self.images = images = OfferedImages()
        self.volumes = VolumeService(database, pool, own_use, disks, host.jobs, images)
        self.usage = PoolUsage(database, disks)
        self.snapshot_metadata = SnapshotMetadata(database)
        self.snapshot_groups = SnapshotGroups(database, self.snapshots, host.jobs)
        self.new_volumes = NewVolumes(database, keys, host.jobs, host.zone, images)
        self.tags, self.metadata = VolumeTags(database), VolumeMetadata(database)
        self.registration = VolumeRegistration(database, keys, pool, disks)
        self.headers = VolumeHeaders(database, keys, pool)
        self.quotas = QuotaService(database, keys)

    def start(self) -> None:
        """End attachments that were left unfinished, then take up what was begun with volumes."""
        self.disks.start()
        self.attachments.start()
        self.volumes.start()
        self.snapshots.start()

    def close(self) -> None:
        """End no more attachments."""
        self.attachments.close()
        self.snapshots.close()


def build(host: Host) -> EvsService:
    """Its part in evsd."""
    return EvsService(host)
