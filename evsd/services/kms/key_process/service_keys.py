"""The volume service's use of CMKs: the data keys of volumes, under delegation."""

from __future__ import annotations

from evsd.key_channel.call import Call
from evsd.key_channel.shared import Context
from evsd.key_process import crypto
from evsd.services.evs.errors import NotDelegated
from evsd.services.iam.agencies import delegated
from evsd.services.iam.tables import Domain, Project
from evsd.services.kms.key_process.key_store import KeyStore, by_alias, check_usable
from evsd.services.kms.key_process.lifecycle import KeyLife
from evsd.services.kms.operations import (
    CheckVolumeKey,
    CompareVolumeKeys,
    CreateVolumeKey,
    VolumeKey,
)
from evsd.services.kms.tables import Cmk

VOLUME_DEFAULT_ALIAS = "evs/default"
VOLUME_KEY_BITS = 512


class ServiceKeys:
    """Data keys of volumes; here a clear one leaves this process only sealed to its server.

    Who may use the CMK can also decrypt the wrapped key of a header, as of any data key.
    """

    def __init__(self, keys: KeyStore, life: KeyLife) -> None:
        self._keys, self._life = keys, life

    @CreateVolumeKey.handler
    def create_volume_key(self, call: Call, request: CreateVolumeKey) -> VolumeKey:
        """A volume's data key, wrapped, and its LUKS2 digest.

        Without `key_id` the project's default key is used, and made on the first use.
        """
        key_id, context = request.key_id, request.context
        with self._keys.used(call, "create-volume-key", key_id or "", context) as use:
            self._require_delegation(call.project_id)
            cmk = self._keys.usable(call, None, key_id) if key_id else self._default_key(call)
            use.of(cmk)
            check_usable(cmk)
            data_key = crypto.new_data_key(VOLUME_KEY_BITS)
            wrapped = self._keys.wrap(cmk, data_key, context)
            digest = crypto.volume_key_digest(data_key)
        return VolumeKey(
            cmk_id=cmk.id,
            cmk_version=cmk.version,
            wrapped_dek=wrapped,
            digest_salt=digest.salt,
            digest_iterations=digest.iterations,
            digest=digest.value,
        )

    @CheckVolumeKey.handler
    def check_volume_key(self, call: Call, request: CheckVolumeKey) -> None:
        """Whether a volume could be attached now: delegation, key and envelope; raises if not."""
        self.unwrap_volume_key(
            call, "check-volume-key", request.key_id, request.wrapped_dek, request.context
        )

    @CompareVolumeKeys.handler
    def compare_volume_keys(self, call: Call, request: CompareVolumeKeys) -> bool:
        """Whether all of these hold the one data key of a volume, whose LUKS2 digest this is."""
        data_keys = {
            self.unwrap_volume_key(
                call, "compare-volume-keys", request.key_id, wrapped, request.context
            )
            for wrapped in request.wrapped_deks
        }
        expected = crypto.KeyDigest(request.digest_salt, request.digest_iterations, request.digest)
        return len(data_keys) == 1 and crypto.has_digest(data_keys.pop(), expected)

    def unwrap_volume_key(
        self, call: Call, action: str, key_id: str, wrapped_dek: bytes, context: Context
    ) -> bytes:
        """A volume's data key in clear, for the key process alone."""
        with self._keys.used(call, action, key_id, context) as use:
            self._require_delegation(call.project_id)
            return self._keys.unwrap(
                use, self._keys.usable(call, None, key_id), wrapped_dek, context
            )

    def _require_delegation(self, project_id: str) -> None:
        """Raise `NotDelegated` unless the volume service may use keys in the project."""
        with self._keys.database.reading() as session:
            if not delegated(session, project_id):
                project = session.get_one(Project, project_id)
                domain = session.get_one(Domain, project.domain_id)
                raise NotDelegated(project=project.name, domain=domain.name)

    def _default_key(self, call: Call) -> Cmk:
        with self._keys.database.reading() as session:
            cmk = by_alias(session, call.project_id, VOLUME_DEFAULT_ALIAS)
        return cmk or self._life.add_key(
            call, VOLUME_DEFAULT_ALIAS, "default key of the volume service", default=True
        )
