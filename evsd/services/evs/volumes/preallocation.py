"""Filling thick volumes with encrypted zeros.

The zeros are written through the volume's own server: evsd never has a volume's key.
"""

from __future__ import annotations

from evsd.connector import ConnectorError
from evsd.connector.writing import write_zeros
from evsd.jobs.kinds import Work
from evsd.pools.file import translated
from evsd.services.evs.volumes.own_use import OwnUse


class FillFailed(Exception):
    """The volume's server did not take the zeros."""


def preallocate(own_use: OwnUse, volume_id: str, start: int, end: int, work: Work) -> None:
    """Write encrypted zeros to the volume from `start` to `end`, in bytes.

    Raises `Stopped`, `Cancelled`, `FillFailed`, `PoolError` for what the pool refuses the server,
    and what serving a volume can be refused with.
    """
    whole = end - start
    work.progress(0, whole)
    with own_use.serve(volume_id) as socket:
        try:
            write_zeros(socket, start, end, lambda count: work.progress(count, whole))
        except ConnectorError as error:
            raise FillFailed(error.message) from error
        except OSError as error:
            raise translated(error) from error
