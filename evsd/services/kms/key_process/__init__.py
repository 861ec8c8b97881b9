"""What the KMS does in evsd-keys: all that touches a key."""

from evsd.key_process.service_part import KeyPart, Parts
from evsd.services.kms.key_process.data_keys import DataKeys
from evsd.services.kms.key_process.grants import Grants
from evsd.services.kms.key_process.imports import KeyImport
from evsd.services.kms.key_process.key_release import KeyReleases
from evsd.services.kms.key_process.key_store import KeyStore
from evsd.services.kms.key_process.lifecycle import KeyLife
from evsd.services.kms.key_process.maintenance import Maintenance
from evsd.services.kms.key_process.recovery import KeyRecovery
from evsd.services.kms.key_process.rotation import Rotation
from evsd.services.kms.key_process.service_keys import ServiceKeys
from evsd.services.kms.key_process.tags import Tags


def build(parts: Parts) -> KeyPart:
    """Its part in evsd-keys."""
    keys = KeyStore(parts.database, parts.token, parts.usage)
    life, rotation = KeyLife(keys), Rotation(keys)
    service_keys = ServiceKeys(keys, life, parts.consumers)
    others = (DataKeys(keys), Grants(keys), KeyImport(keys), Tags(keys), KeyRecovery(keys))
    return KeyPart(
        operations=(life, rotation, service_keys, *others),
        maintenance=(Maintenance(keys, rotation).round,),
        release=KeyReleases(parts.database, service_keys, parts.usage).answer,
    )
