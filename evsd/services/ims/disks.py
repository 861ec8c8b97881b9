"""The disks of images: encrypted files of the pool, which only servers of evsd's own read or write.

An image has one, named by its id. While a file is uploaded it has another, which holds that file as
it comes, under a data key of its own: nothing of an upload is ever on disk in clear.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evsd.key_channel.codec import decode
from evsd.key_client.process import KeyProcess
from evsd.pools.pool import Pool, PoolError
from evsd.services.iam.tables import Project
from evsd.services.ims.consumer import CONSUMER
from evsd.services.ims.errors import ImageFileFailed, ImageKeyNotEnabled
from evsd.services.ims.key_context import encryption_context, key_use, service_call
from evsd.services.ims.tables import Image
from evsd.services.kms.errors import KeyNotFound, KeyUnusable
from evsd.services.kms.operations import CheckServiceKey, ServiceKey
from evsd.serving.failures import ServerFailed
from evsd.serving.snapshots import DiskSnapshots
from evsd.serving.supervisor import ServerSupervisor
from evsd.store.database import Database
from nbd_plugin import luks2

BLOCK = 4096


class ImageDisks:
    """Those of all images."""

    def __init__(
        self, database: Database, keys: KeyProcess, pool: Pool, servers: ServerSupervisor
    ) -> None:
        self._database, self._keys, self._servers = database, keys, servers
        self.pool, self._snapshots = pool, DiskSnapshots(pool, servers)
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    def create(self, image: Image, disk_id: str, key: ServiceKey, size: int) -> None:
        """Make one of `size` bytes, rounded up to whole blocks, that is not whole yet.

        What an earlier try has left is removed. Raises `PoolError`, `ServerNotEnded`.
        """
        self.delete(disk_id)
        header = luks2.Header(
            uuid=disk_id,
            label="",
            size=-(-size // BLOCK) * BLOCK,
            settled=0,
            thin=True,
            wrapped_dek=key.wrapped_dek,
            cmk_id=key.cmk_id,
            cmk_version=key.cmk_version,
            context=encryption_context(image.project_id, disk_id),
            digest_salt=key.digest_salt,
            digest_iterations=key.digest_iterations,
            digest=key.digest,
            sequence=1,
        )
        self.pool.create(header)

    def create_own(self, image: Image, size: int) -> None:
        """Make the one named by the image's id."""
        self.create(image, image.id, decode(ServiceKey, image.data_key), size)

    @contextmanager
    def serve(self, image_id: str, disk_id: str = "", *, read_only: bool = False) -> Iterator[Path]:
        """Serve one until the block ends, on the socket this gives; by default the image's own.

        Whoever else wants it waits. Raises `ImageKeyNotEnabled`, `ImageDelegationMissing`,
        `ImageFileFailed`.
        """
        disk_id = disk_id or image_id
        with self._database.reading() as session:
            image = session.get_one(Image, image_id)
            project = session.get_one(Project, image.project_id)
        self._check_key(image, project, disk_id)
        use = key_use(image, project, disk_id)
        served = self._servers.own_use(disk_id, use, read_only=read_only)
        with self._alone_with(disk_id), _told_of(image.name), served as socket:
            yield socket

    def clone(self, image_id: str, header: luks2.Header) -> None:
        """Make another disk that reads as an image's; nothing is copied. Raises `PoolError`.

        The first time the image's disk is frozen as a snapshot, which has its id.
        """
        with self._alone_with(image_id):
            self._snapshots.take({image_id: image_id})
            self._snapshots.clone(image_id, image_id, header)

    def is_whole(self, disk_id: str) -> bool:
        """Whether one was `settle`d; raises `PoolError` where that can't be told."""
        return self.pool.whole(disk_id) is not None

    def delete(self, disk_id: str) -> None:
        """Remove one, whatever became of it, or nothing; what clones stand on stays for them.

        Raises `PoolError`, `ServerNotEnded`.
        """
        self._servers.end_own_use(disk_id)
        self._snapshots.delete(disk_id)
        with self._lock:
            self._locks.pop(disk_id, None)

    def _check_key(self, image: Image, project: Project, disk_id: str) -> None:
        context = encryption_context(image.project_id, disk_id)
        try:
            wrapped = self.pool.header(disk_id).wrapped_dek
            wanted = CheckServiceKey(CONSUMER.service, image.cmk_id, wrapped, context)
            self._keys.call(service_call(image, project), wanted)
        except PoolError as error:
            raise ImageFileFailed(name=image.name, reason=f"its file: {error}") from error
        except (KeyUnusable, KeyNotFound) as error:
            raise ImageKeyNotEnabled(
                reason=f"image {image.name} can't be used: {error.text}"
            ) from error

    @contextmanager
    def _alone_with(self, disk_id: str) -> Iterator[None]:
        with self._lock:
            lock = self._locks.setdefault(disk_id, threading.Lock())
        with lock:
            yield


@contextmanager
def _told_of(name: str) -> Iterator[None]:
    try:
        yield
    except ServerFailed as error:
        raise ImageFileFailed(name=name, reason=error) from error
