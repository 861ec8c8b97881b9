"""Comparing records and pool at start: they may be of different times.

No file is touched by that.
"""

from __future__ import annotations

import contextlib

import structlog
from sqlalchemy import select

from evsd.pools.pool import Pool, PoolError
from evsd.services.evs.limits import GIB
from evsd.services.evs.snapshots.records import EXCLUSIVE
from evsd.services.evs.tables import Snapshot, Volume
from evsd.services.evs.volumes.images import OfferedImages
from evsd.services.evs.volumes.states import VolumeStatus
from evsd.serving.snapshots import DiskSnapshots
from evsd.store.database import Database

UNDER_WAY = (VolumeStatus.CREATING, VolumeStatus.EXTENDING, VolumeStatus.DELETING)

log = structlog.get_logger()


def compare(database: Database, pool: Pool, disks: DiskSnapshots, images: OfferedImages) -> None:
    """Say what differs; the sizes of a database from a backup are corrected."""
    if database.restored:
        _take_sizes_from_files(database, pool)
    _compare_names(database, pool, images)
    _compare_layers(database, disks, images)


def _take_sizes_from_files(database: Database, pool: Pool) -> None:
    """Correct what an old database says of volumes that have been extended since."""
    with database.reading() as session:
        volumes = list(session.scalars(select(Volume).where(Volume.status.not_in(UNDER_WAY))))
    for volume in volumes:
        with contextlib.suppress(PoolError):  # told of by `_compare_names`
            size_gib = pool.header(volume.id).settled // GIB
            if size_gib and size_gib != volume.size_gib:
                log.warning("a volume has another size", name=volume.name, size_gib=size_gib)
                with database.transaction() as session:
                    session.get_one(Volume, volume.id).size_gib = size_gib


def _compare_names(database: Database, pool: Pool, images: OfferedImages) -> None:
    """Say which volumes have no file, and which files no volume."""
    with database.reading() as session:
        volumes = {
            pool.path(volume_id).name: name
            for volume_id, name in session.execute(select(Volume.id, Volume.name))
        }
        of_images = {pool.path(disk_id).name for disk_id in images.known.disks(session)}
    files = pool.names() - of_images
    for file in sorted(volumes.keys() - files):
        log.error("the file of a volume is missing", name=volumes[file], file=file)
    for file in sorted(files - volumes.keys()):
        log.warning(
            "a file of the pool is no volume's",
            file=file,
            remedy="an interrupted operation left it: look at it, then remove it"
            if pool.is_left_over(file)
            else f"evsctl recover {file}",
        )


def _compare_layers(database: Database, disks: DiskSnapshots, images: OfferedImages) -> None:
    """Say which snapshots have no layer, and which layers no volume."""
    with database.reading() as session:
        snapshots = list(session.scalars(select(Snapshot).where(Snapshot.status.not_in(EXCLUSIVE))))
        known = {*session.scalars(select(Volume.id)), *images.known.disks(session)}
    for snapshot in snapshots:
        if not disks.has_begun(snapshot.id):
            log.error("the layer of a snapshot is missing", name=snapshot.name, id=snapshot.id)
    for file in disks.strays(known):
        log.warning(
            "a layer of the pool is no volume's",
            file=file,
            remedy="evsctl recover its volume's file; where that is gone nothing needs the layer",
        )
