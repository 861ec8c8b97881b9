"""What IAM does in evsd-keys: access keys, tokens, and changes of who may do what."""

from evsd.key_process.service_part import KeyPart, Parts
from evsd.services.iam.key_process.access_keys import AccessKeyService
from evsd.services.iam.key_process.identity_changes import IdentityChanges
from evsd.services.iam.key_process.tokens import TokenService


def build(parts: Parts) -> KeyPart:
    """Its part in evsd-keys."""
    access_keys = AccessKeyService(parts.database, parts.token, parts.usage)
    tokens = TokenService(parts.database, parts.usage)
    changes = IdentityChanges(parts.database, parts.usage)
    return KeyPart(operations=(access_keys, tokens, changes))
