"""What callers are told of an error in the work on an image."""

from __future__ import annotations

from pathlib import Path

from evsd.connector import ConnectorError
from evsd.errors import PublishedError
from evsd.images import ImageError, ToolFailed
from evsd.jobs.kinds import Cancelled, JobKind
from evsd.pools.pool import PoolError, PoolFull, PoolReadOnly
from evsd.pools.refusals import pool_refusal
from evsd.services.ims.errors import ImageCancelled, ImageDataInvalid, ImageFileFailed
from evsd.serving.failures import ServerFailed

# What work on an image can fail with.
FAILURES: tuple[type[Exception], ...] = (
    *JobKind.failures,
    PoolError,
    ServerFailed,
    ImageError,
    ConnectorError,
    OSError,
)


def published(name: str, error: Exception, pool: Path) -> PublishedError:
    """The error to be answered, for an image of this name in the pool at this place."""
    if isinstance(error, PublishedError):
        return error
    if isinstance(error, Cancelled):
        return ImageCancelled(name=name)
    if isinstance(error, PoolFull | PoolReadOnly):
        return pool_refusal(f"image {name}", error, pool)
    if isinstance(error, ImageError) and not isinstance(error, ToolFailed):
        return ImageDataInvalid(reason=error, remedy=error.remedy or "nothing of it was kept")
    return ImageFileFailed(name=name, reason=error)
