"""The service's own key on the token: wraps secrets of access keys and import tokens."""

from __future__ import annotations

from evsd.key_process.token.labels import key_label
from evsd.key_process.token.token import Token, TokenKey

SERVICE_KEY_ID = "00000000-0000-0000-0000-000000000001"  # no tenant has a CMK of this id


def service_key(token: Token) -> TokenKey:
    """The key, made at its first use."""
    return token.ensure(key_label(SERVICE_KEY_ID, 1))
