"""The records of volumes: finding one, and entering one with what hangs on its key."""

from __future__ import annotations

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from evsd.services.evs.consumer import CONSUMER
from evsd.services.evs.errors import VolumeNameTaken, VolumeNotFound
from evsd.services.evs.tables import Volume
from evsd.services.kms.consumers import add_dependent


def find(session: Session, project_id: str, volume_id: str) -> Volume:
    """The volume's record in this session; a foreign one looks like a missing one."""
    volume = session.get(Volume, volume_id)
    if volume is None or volume.project_id != project_id:
        raise VolumeNotFound(name=volume_id)
    return volume


def add_record(session: Session, volume: Volume) -> None:
    """Enter a new volume, with its key; raises `VolumeNameTaken`."""
    session.add(volume)
    try:
        session.flush()
    except IntegrityError as error:
        raise VolumeNameTaken(name=volume.name, reason="") from error
    add_dependent(
        session,
        CONSUMER.kind,
        volume.id,
        volume.name,
        volume.project_id,
        volume.cmk_id,
        volume.created_at,
    )
