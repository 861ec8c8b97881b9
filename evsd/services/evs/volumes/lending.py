"""Reading an available volume for another service, which nobody can attach meanwhile."""

from __future__ import annotations

from sqlalchemy.orm import Session

from evsd.services.evs.tables import Volume
from evsd.services.evs.volumes.states import VOLUME_STATES, VolumeEvent
from evsd.store.database import utcnow
from evsd.store.transitions import advance


def lend(session: Session, volume: Volume) -> bool:
    """Have nobody else use it from now on; False, and nothing changed, where somebody may be."""
    return advance(session, volume, VOLUME_STATES, VolumeEvent.UPLOAD, updated_at=utcnow())


def take_back(session: Session, volume_id: str) -> None:
    """It is available again, whatever came of the reading."""
    volume = session.get(Volume, volume_id)
    if volume is not None:
        advance(session, volume, VOLUME_STATES, VolumeEvent.UPLOADED, updated_at=utcnow())
