"""EVS: volumes, and their attachments to hosts."""

from __future__ import annotations

from evsd.service import Host, Service
from evsd.services.evs.attachments.service import AttachmentService
from evsd.services.evs.volumes.headers import VolumeHeaders
from evsd.services.evs.volumes.quotas import QuotaService
from evsd.services.evs.volumes.registration import VolumeRegistration
from evsd.services.evs.volumes.service import VolumeService


class EvsService(Service):
    """Its parts."""

    def __init__(self, host: Host) -> None:
        database, keys, pool = host.database, host.keys, host.pool
        self.host = host
        self.attachments = AttachmentService(database, keys, pool, host.servers, host.socket_group)
        self.volumes = VolumeService(
            database, keys, pool, self.attachments.own_use, self.attachments.end_own_use
        )
        self.registration = VolumeRegistration(database, keys, pool)
        self.headers = VolumeHeaders(database, keys, pool)
        self.quotas = QuotaService(database)

    def start(self) -> None:
        """Take up attachments and servers, then what was begun with volumes."""
        self.attachments.start()  # it ends what the last run served to itself
        self.volumes.recover()

    def close(self) -> None:
        """Stop what works on volumes, then what watches their servers."""
        self.volumes.close()
        self.attachments.close()


def build(host: Host) -> EvsService:
    """Its part in evsd."""
    return EvsService(host)
