"""What IAM does in evsd-keys: secrets of access keys, and changes of who may do what."""

from evsd.key_process.service_part import KeyPart, Parts
from evsd.services.iam.key_process.access_keys import AccessKeyService
from evsd.services.iam.key_process.identity_changes import IdentityChanges


def build(parts: Parts) -> KeyPart:
    """Its part in evsd-keys."""
    access_keys = AccessKeyService(parts.database, parts.token, parts.usage)
    return KeyPart(operations=(access_keys, IdentityChanges(parts.database, parts.usage)))
