"""Other services' use of CMKs: data keys of what their tenants have, under delegation."""

from __future__ import annotations

from collections.abc import Mapping

from evsd.key_channel.call import Call
from evsd.key_channel.consumer import Consumer
from evsd.key_channel.shared import Context
from evsd.key_process import envelope
from evsd.services.iam.agencies import delegated
from evsd.services.iam.projects import names_of
from evsd.services.kms.key_process.key_store import KeyStore, by_alias
from evsd.services.kms.key_process.key_usable import check_usable
from evsd.services.kms.key_process.lifecycle import KeyLife
from evsd.services.kms.operations import (
    CheckServiceKey,
    CompareServiceKeys,
    CreateServiceKey,
    ServiceKey,
)
from evsd.services.kms.tables import Cmk


class ServiceKeys:
    """Data keys of consumers; here a clear one leaves this process only sealed to its server.

    Who may use the CMK can also decrypt a wrapped key, as of any data key. A record of a use is
    named after what the key is of: `create-volume-key`.
    """

    def __init__(self, keys: KeyStore, life: KeyLife, consumers: Mapping[str, Consumer]) -> None:
        self._keys, self._life, self.consumers = keys, life, consumers

    @CreateServiceKey.handler
    def create_service_key(self, call: Call, request: CreateServiceKey) -> ServiceKey:
        """A consumer's data key, wrapped, and its LUKS2 digest.

        Without `key_id` the project's default key is used, and made on the first use.
        """
        consumer, key_id = self.consumers[request.service], request.key_id
        context, action = request.context, f"create-{consumer.kind}-key"
        with self._keys.used(call, action, key_id or "", context) as use:
            self._require_delegation(consumer, call.project_id)
            own = self._keys.usable(call, None, key_id) if key_id else None
            cmk = own or self._default_key(consumer, call)
            use.of(cmk)
            check_usable(cmk)
            data_key = envelope.new_data_key(consumer.key_bits)
            wrapped = self._keys.wrap(cmk, data_key, context)
            digest = envelope.volume_key_digest(data_key)
        return ServiceKey(
            cmk_id=cmk.id,
            cmk_version=cmk.version,
            wrapped_dek=wrapped,
            digest_salt=digest.salt,
            digest_iterations=digest.iterations,
            digest=digest.value,
        )

    @CheckServiceKey.handler
    def check_service_key(self, call: Call, request: CheckServiceKey) -> None:
        """Whether a key would be released now: delegation, key and envelope; raises if not."""
        consumer = self.consumers[request.service]
        action = f"check-{consumer.kind}-key"
        self.unwrap(call, consumer, action, request.key_id, request.wrapped_dek, request.context)

    @CompareServiceKeys.handler
    def compare_service_keys(self, call: Call, request: CompareServiceKeys) -> bool:
        """Whether all of these hold the one data key whose LUKS2 digest this is."""
        consumer = self.consumers[request.service]
        action = f"compare-{consumer.kind}-keys"
        data_keys = {
            self.unwrap(call, consumer, action, request.key_id, wrapped, request.context)
            for wrapped in request.wrapped_deks
        }
        expected = envelope.KeyDigest(
            request.digest_salt, request.digest_iterations, request.digest
        )
        return len(data_keys) == 1 and envelope.has_digest(data_keys.pop(), expected)

    def unwrap(
        self,
        call: Call,
        consumer: Consumer,
        action: str,
        key_id: str,
        wrapped: bytes,
        context: Context,
    ) -> bytes:
        """A consumer's data key in clear, for the key process alone."""
        with self._keys.used(call, action, key_id, context) as use:
            self._require_delegation(consumer, call.project_id)
            return self._keys.unwrap(use, self._keys.usable(call, None, key_id), wrapped, context)

    def _require_delegation(self, consumer: Consumer, project_id: str) -> None:
        """Raise the consumer's refusal unless it may use keys in the project."""
        with self._keys.database.reading() as session:
            if not delegated(session, project_id, consumer.domain, consumer.role_id):
                project, domain = names_of(session, project_id)
                raise consumer.not_delegated(project=project, domain=domain)

    def _default_key(self, consumer: Consumer, call: Call) -> Cmk:
        with self._keys.database.reading() as session:
            cmk = by_alias(session, call.project_id, consumer.default_alias)
        return cmk or self._life.add_key(
            call, consumer.default_alias, consumer.default_description, default=True
        )
