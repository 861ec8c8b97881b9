"""What callers are told of an error in the work on a volume."""

from __future__ import annotations

from pathlib import Path

from evsd.errors import PublishedError, storage_error
from evsd.jobs.kinds import Cancelled
from evsd.services.evs.errors import PoolFailed, VolumeCancelled
from evsd.space import REFUSALS


def published(name: str, error: Exception, pool: Path) -> PublishedError:
    """The error to be answered, for a volume of this name in the pool's directory."""
    if isinstance(error, PublishedError):
        return error
    if isinstance(error, Cancelled):
        return VolumeCancelled(name=name)
    if isinstance(error, OSError) and error.errno in REFUSALS:
        return storage_error(f"volume {name}: the pool", pool, error)
    return PoolFailed(name=name, reason=reason(error))


def reason(error: BaseException | None) -> str:
    """It in words."""
    return str((isinstance(error, OSError) and error.strerror) or error)
