"""Whether a volume can be served: what its file holds, and whether its key would be released.

Refused here is what a server would be refused when its first client comes.
"""

from __future__ import annotations

from evsd.key_channel.call import Call
from evsd.key_client.process import KeyProcess
from evsd.pools.pool import HeaderInvalid, Pool, PoolError
from evsd.services.evs.consumer import CONSUMER
from evsd.services.evs.errors import AttachFailed, VolumeKeyNotEnabled
from evsd.services.evs.key_context import encryption_context
from evsd.services.evs.limits import GIB
from evsd.services.evs.tables import Volume
from evsd.services.kms.errors import KeyNotFound, KeyUnusable
from evsd.services.kms.operations import CheckServiceKey
from nbd_plugin import luks2


class Servable:
    """Looks at files and asks for keys."""

    def __init__(self, keys: KeyProcess, pool: Pool) -> None:
        self._keys, self._pool = keys, pool

    def header(self, volume: Volume) -> luks2.Header:
        """What the volume's file holds; refuses one that is gone, broken or another volume's."""
        try:
            header = self._pool.header(volume.id)
        except HeaderInvalid as error:
            raise AttachFailed(
                name=volume.name,
                reason=f"its file: {error}; evsctl header restore {volume.name} FILE puts a backup "
                "of its header back",
            ) from error
        except PoolError as error:
            raise AttachFailed(name=volume.name, reason=f"its file: {error}") from error
        if header.uuid != volume.id:
            raise AttachFailed(name=volume.name, reason=f"its file is that of volume {header.uuid}")
        if header.size < volume.size_gib * GIB:  # what is behind would be cut off for its clients
            raise AttachFailed(
                name=volume.name,
                reason=f"its header is from before it had {volume.size_gib} GiB; "
                f"evsctl header restore {volume.name} FILE sets that right",
            )
        return header

    def check_key(self, call: Call, volume: Volume, header: luks2.Header) -> None:
        """Raise `DelegationMissing` or `VolumeKeyNotEnabled` where no key would be released."""
        try:
            context = encryption_context(volume.project_id, volume.id)
            self._keys.call(
                call,
                CheckServiceKey(CONSUMER.service, volume.cmk_id, header.wrapped_dek, context),
            )
        except (KeyUnusable, KeyNotFound) as error:
            raise VolumeKeyNotEnabled(
                reason=f"volume {volume.name} can't be attached: {error.text}"
            ) from error
