"""What callers are told where a pool takes no more."""

from __future__ import annotations

from pathlib import Path

from evsd.errors import StorageError, StorageFull, StorageReadOnly
from evsd.pools.pool import PoolFull, PoolReadOnly


def pool_refusal(what: str, error: PoolFull | PoolReadOnly, pool: Path) -> StorageError:
    """The error to be answered, of `what` in the pool at this place."""
    refused = StorageFull if isinstance(error, PoolFull) else StorageReadOnly
    return refused(what=f"{what}: the pool", path=pool, reason=error)
