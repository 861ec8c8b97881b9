"""The volume service's use of CMKs: the data keys of volumes, under delegation."""

from __future__ import annotations

from evsd.key_channel.call import Call, Result, operation
from evsd.key_process import crypto
from evsd.key_process.usage import Context
from evsd.services.evs.errors import NotDelegated
from evsd.services.evs.permissions import VOLUME_SERVICE
from evsd.services.iam.agencies import delegated
from evsd.services.iam.projects import names_of
from evsd.services.kms.key_process.key_store import KeyStore, by_alias, check_usable
from evsd.services.kms.key_process.lifecycle import KeyLife
from evsd.services.kms.permissions import KMS_ADMINISTRATOR
from evsd.services.kms.tables import Cmk

VOLUME_DEFAULT_ALIAS = "evs/default"
VOLUME_KEY_BITS = 512


class ServiceKeys:
    """Data keys of volumes; here a clear one leaves this process only sealed to its server.

    Who may use the CMK can also decrypt the wrapped key of a header, as of any data key.
    """

    def __init__(self, keys: KeyStore, life: KeyLife) -> None:
        self._keys, self._life = keys, life

    @operation
    def create_volume_key(self, call: Call, key_id: str | None, context: Context) -> Result:
        """A volume's data key, wrapped, and its LUKS2 digest.

        Without `key_id` the project's default key is used, and made on the first use.
        """
        with self._keys.used(call, "create-volume-key", key_id or "", context) as use:
            self._require_delegation(call.project_id)
            cmk = self._keys.usable(call, None, key_id) if key_id else self._default_key(call)
            use.of(cmk)
            check_usable(cmk)
            data_key = crypto.new_data_key(VOLUME_KEY_BITS)
            wrapped = self._keys.wrap(cmk, data_key, context)
            digest = crypto.volume_key_digest(data_key)
        return {
            "cmk_id": cmk.id,
            "cmk_version": cmk.version,
            "wrapped_dek": wrapped.hex(),
            "digest_salt": digest.salt.hex(),
            "digest_iterations": digest.iterations,
            "digest": digest.value.hex(),
        }

    @operation
    def check_volume_key(
        self, call: Call, key_id: str, wrapped_dek: str, context: Context
    ) -> Result:
        """Whether a volume could be attached now: delegation, key and envelope; raises if not."""
        self.unwrap_volume_key(
            call, "check-volume-key", key_id, bytes.fromhex(wrapped_dek), context
        )
        return {}

    @operation
    def compare_volume_keys(
        self,
        call: Call,
        key_id: str,
        wrapped_deks: list[str],
        context: Context,
        digest_salt: str,
        digest_iterations: int,
        digest: str,
    ) -> Result:
        """Whether all of these hold the one data key of a volume, whose LUKS2 digest this is."""
        data_keys = {
            self.unwrap_volume_key(
                call, "compare-volume-keys", key_id, bytes.fromhex(wrapped), context
            )
            for wrapped in wrapped_deks
        }
        expected = crypto.KeyDigest(
            bytes.fromhex(digest_salt), digest_iterations, bytes.fromhex(digest)
        )
        return {"same": len(data_keys) == 1 and crypto.has_digest(data_keys.pop(), expected)}

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
            if not delegated(session, project_id, VOLUME_SERVICE, KMS_ADMINISTRATOR.id):
                project, domain = names_of(session, project_id)
                raise NotDelegated(project=project, domain=domain)

    def _default_key(self, call: Call) -> Cmk:
        with self._keys.database.reading() as session:
            cmk = by_alias(session, call.project_id, VOLUME_DEFAULT_ALIAS)
        return cmk or self._life.add_key(
            call, VOLUME_DEFAULT_ALIAS, "default key of the volume service", default=True
        )
