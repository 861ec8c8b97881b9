"""What callers are told of an error in the work on a volume."""

from __future__ import annotations

from pathlib import Path

from evsd.errors import PublishedError
from evsd.jobs.kinds import Cancelled, JobKind
from evsd.pools.pool import PoolError, PoolFull, PoolReadOnly
from evsd.pools.refusals import pool_refusal
from evsd.services.evs.errors import PoolFailed, VolumeCancelled
from evsd.services.evs.volumes.preallocation import FillFailed

# What work on a volume can fail with.
FAILURES = (*JobKind.failures, PoolError, FillFailed)


def published(name: str, error: Exception, pool: Path) -> PublishedError:
    """The error to be answered, for a volume of this name in the pool at this place."""
    if isinstance(error, PublishedError):
        return error
    if isinstance(error, Cancelled):
        return VolumeCancelled(name=name)
    if isinstance(error, PoolFull | PoolReadOnly):
        return pool_refusal(f"volume {name}", error, pool)
    return PoolFailed(name=name, reason=error)
