"""What callers are told of an error in the work on a snapshot."""

from __future__ import annotations

from pathlib import Path

from evsd.errors import PublishedError
from evsd.jobs.kinds import JobKind
from evsd.layers.chain import ChainTooLong
from evsd.pools.pool import PoolError, PoolFull, PoolReadOnly
from evsd.pools.refusals import pool_refusal
from evsd.services.evs.errors import SnapshotChainTooLong, SnapshotWorkFailed
from evsd.serving.failures import ServerFailed


class Interrupted(Exception):
    """evsd ended before it had begun."""

    def __str__(self) -> str:
        return "evsd was interrupted"


# What work on a snapshot can fail with.
FAILURES = (*JobKind.failures, PoolError, ServerFailed, Interrupted)


def published(name: str, error: Exception, pool: Path) -> PublishedError:
    """The error to be answered, for a snapshot of this name in the pool at this place."""
    if isinstance(error, PublishedError):
        return error
    if isinstance(error, ChainTooLong):
        return SnapshotChainTooLong(name=name, reason=error)
    if isinstance(error, PoolFull | PoolReadOnly):
        return pool_refusal(f"snapshot {name}", error, pool)
    return SnapshotWorkFailed(name=name, reason=error)
