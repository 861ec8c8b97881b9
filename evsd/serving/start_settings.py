"""What the server of a record is started with."""

from __future__ import annotations

import uuid
from contextlib import suppress
from pathlib import Path

from evsd.layers import recovery
from evsd.layers.chain import Layer, chain
from evsd.pools.pool import Pool, PoolError
from evsd.serving.failures import ServerFailed
from evsd.serving.key_releases import LayerKey
from evsd.serving.server import ServerSettings
from evsd.serving.server_files import ServerFiles, is_in_own_directory
from evsd.serving.socket_access import Access, make_directory
from evsd.serving.states import ServerStatus
from evsd.serving.tables import ServerRecord
from nbd_plugin import luks2


class StartSettings:
    """For the servers of one host; `group` may open the socket of each."""

    def __init__(
        self, pool: Pool, files: ServerFiles, release_socket: Path, group: int | None
    ) -> None:
        self._pool, self._files = pool, files
        self._release_socket, self._group = release_socket, group

    def of(self, record: ServerRecord) -> ServerSettings:
        """For its next process, while nobody else changes the disk's layers.

        Raises `ServerFailed`.
        """
        own_directory = self._files.own_directory(record.id)
        if own_directory.is_dir() or record.status != ServerStatus.KEPT:  # else as it once began
            self._open_to_its_users(own_directory, record)
        socket, below = self._files.socket(record.id), self._below(record)
        reports = is_in_own_directory(socket)
        return ServerSettings(
            attachment_id=record.id,
            volume_file=self._pool.path(record.disk_id),
            socket=socket,
            log=self._files.log(record.id),
            release_socket=self._release_socket,
            read_only=record.read_only,
            layers=tuple(layer.path for layer in below),
            layer_keys={
                layer.header.uuid: _key(record.id, layer.header)
                for layer in below
                if layer.header.uuid != record.disk_id
            },
            clients=self._files.report(record.id) if reports else None,
            control=self._files.control(record.id),
            device=record.device if reports else "",
        )

    def disks(self, record: ServerRecord) -> set[str]:
        """The disk, and those of which it has layers, where they can be told."""
        with suppress(PoolError):
            below = chain(self._pool.place, record.disk_id)
            return {record.disk_id, *(layer.header.uuid for layer in below)}
        return {record.disk_id}

    def _below(self, record: ServerRecord) -> list[Layer]:
        """What the disk's file stands on, the newest of its layers, whatever was interrupted.

        A process that has not ended may write to what would be touched then.
        """
        if record.process is not None and record.process.running:
            raise ServerFailed(f"process {record.process.pid} has not ended")
        try:
            return recovery.below_newest(self._pool.place, record.disk_id)
        except PoolError as error:
            raise ServerFailed(str(error)) from error

    def _open_to_its_users(self, directory: Path, record: ServerRecord) -> None:
        access = Access() if record.own else Access(record.owner_uid, self._group)
        try:
            make_directory(directory, access)
        except OSError as error:
            raise ServerFailed(str(error)) from error


def _key(server_id: str, layer: luks2.Header) -> LayerKey:
    release_id = uuid.uuid5(uuid.NAMESPACE_OID, f"{server_id}/{layer.uuid}")
    return LayerKey(str(release_id), layer.cmk_id, layer.context)
