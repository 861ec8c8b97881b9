"""Finding volumes; in this project's they are, or they are not there."""

from __future__ import annotations

from sqlalchemy.orm import Session

from evsd.services.evs.errors import VolumeNotFound
from evsd.services.evs.tables import Volume


def find(session: Session, project_id: str, volume_id: str) -> Volume:
    """The volume's record in this session; a foreign one looks like a missing one."""
    volume = session.get(Volume, volume_id)
    if volume is None or volume.project_id != project_id:
        raise VolumeNotFound(name=volume_id)
    return volume
