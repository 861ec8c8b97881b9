"""Data keys and small data, encrypted and decrypted under a CMK."""

from __future__ import annotations

import hashlib
import hmac

from evsd.key_channel.call import Call, Result, operation
from evsd.key_process import crypto
from evsd.key_process.crypto import Purpose
from evsd.key_process.usage import Context
from evsd.services.kms.errors import BadCiphertext, DatakeyCipherLength, DatakeyHashWrong
from evsd.services.kms.key_process.key_store import KeyStore
from evsd.services.kms.permissions import GrantOperation


class DataKeys:
    """What is done under CMKs for callers of the API. Binary values are hex text."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys

    @operation
    def create_datakey(
        self, call: Call, key_id: str, bits: int, context: Context, plaintext: bool
    ) -> Result:
        """A new data key of `bits` bits: wrapped, and in clear only if `plaintext`."""
        kind = GrantOperation.CREATE_DATAKEY if plaintext else GrantOperation.CREATE_SEALED_DATAKEY
        with self._keys.using(call, kind, key_id, context) as (_, cmk):
            data_key = crypto.new_data_key(bits)
            wrapped = self._keys.wrap(cmk, data_key, context)
        result = {"key_id": cmk.id, "cipher_text": wrapped.hex()}
        if plaintext:
            result["plain_text"] = data_key.hex()
        return result

    @operation
    def encrypt_datakey(
        self, call: Call, key_id: str, data_key: str, digest: str, context: Context
    ) -> Result:
        """Wrap a data key of the caller's; raises `DatakeyHashWrong`."""
        clear = bytes.fromhex(data_key)
        with self._keys.using(call, GrantOperation.ENCRYPT_DATAKEY, key_id, context) as (_, cmk):
            if not hmac.compare_digest(hashlib.sha256(clear).digest(), bytes.fromhex(digest)):
                raise DatakeyHashWrong()
            wrapped = self._keys.wrap(cmk, clear, context)
        return {"key_id": cmk.id, "cipher_text": wrapped.hex()}

    @operation
    def decrypt_datakey(
        self, call: Call, key_id: str, cipher_text: str, length: int, context: Context
    ) -> Result:
        """The data key in clear, if key, context and length are the right ones."""
        with self._keys.using(call, GrantOperation.DECRYPT_DATAKEY, key_id, context) as (use, cmk):
            data_key = self._keys.unwrap(use, cmk, bytes.fromhex(cipher_text), context)
            if len(data_key) != length:
                raise DatakeyCipherLength(value=length)
        return {"data_key": data_key.hex()}

    @operation
    def encrypt_data(self, call: Call, key_id: str, plain_text: str, context: Context) -> Result:
        """Encrypt up to 4096 bytes."""
        with self._keys.using(call, GrantOperation.ENCRYPT_DATA, key_id, context) as (_, cmk):
            wrapped = self._keys.wrap(cmk, bytes.fromhex(plain_text), context, Purpose.DATA)
        return {"key_id": cmk.id, "cipher_text": wrapped.hex()}

    @operation
    def decrypt_data(
        self, call: Call, key_id: str | None, cipher_text: str, context: Context
    ) -> Result:
        """The data; the ciphertext names its key, and `key_id`, if given, must be that key."""
        wrapped = bytes.fromhex(cipher_text)
        named = key_id or _named(wrapped)
        with self._keys.using(call, GrantOperation.DECRYPT_DATA, named, context) as (use, cmk):
            data = self._keys.unwrap(use, cmk, wrapped, context, Purpose.DATA)
        return {"key_id": cmk.id, "plain_text": data.hex()}

    @operation
    def gen_random(self, call: Call, bits: int) -> Result:
        """Random bytes from the token."""
        with self._keys.used(call, "gen-random", durable=False):
            return {"random_data": self._keys.token.random(bits).hex()}


def _named(wrapped: bytes) -> str:
    try:
        return crypto.parse(wrapped, Purpose.DATA).key_id
    except crypto.EnvelopeError as error:
        raise BadCiphertext(reason=error) from error
