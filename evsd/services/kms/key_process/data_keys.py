"""Data keys and small data, encrypted and decrypted under a CMK."""

from __future__ import annotations

import hashlib
import hmac

from evsd.key_channel.call import Call
from evsd.key_process import envelope
from evsd.key_process.envelope import Purpose
from evsd.services.kms.errors import (
    CiphertextInvalid,
    DatakeyCipherLengthInvalid,
    DatakeyHashMismatch,
)
from evsd.services.kms.key_process.key_store import KeyStore
from evsd.services.kms.operations import (
    CreateDatakey,
    DecryptData,
    DecryptDatakey,
    DecryptedData,
    EncryptData,
    EncryptDatakey,
    EncryptedData,
    GenRandom,
    WrappedDatakey,
)
from evsd.services.kms.permissions import GrantOperation


class DataKeys:
    """What is done under CMKs for callers of the API."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys

    @CreateDatakey.handler
    def create_datakey(self, call: Call, request: CreateDatakey) -> WrappedDatakey:
        """A new data key: wrapped, and in clear only if that is asked for."""
        kind, context = GrantOperation.CREATE_SEALED_DATAKEY, request.context
        if request.plaintext:
            kind = GrantOperation.CREATE_DATAKEY
        with self._keys.using(call, kind, request.key_id, context) as (_, cmk):
            data_key = envelope.new_data_key(request.bits)
            wrapped = self._keys.wrap(cmk, data_key, context)
        return WrappedDatakey(cmk.id, wrapped, data_key if request.plaintext else b"")

    @EncryptDatakey.handler
    def encrypt_datakey(self, call: Call, request: EncryptDatakey) -> WrappedDatakey:
        """Wrap a data key of the caller's; raises `DatakeyHashMismatch`."""
        kind, context = GrantOperation.ENCRYPT_DATAKEY, request.context
        with self._keys.using(call, kind, request.key_id, context) as (_, cmk):
            digest = hashlib.sha256(request.data_key).digest()
            if not hmac.compare_digest(digest, request.digest):
                raise DatakeyHashMismatch()
            wrapped = self._keys.wrap(cmk, request.data_key, context)
        return WrappedDatakey(cmk.id, wrapped)

    @DecryptDatakey.handler
    def decrypt_datakey(self, call: Call, request: DecryptDatakey) -> bytes:
        """The data key in clear, if key, context and length are the right ones."""
        kind, context = GrantOperation.DECRYPT_DATAKEY, request.context
        with self._keys.using(call, kind, request.key_id, context) as (use, cmk):
            data_key = self._keys.unwrap(use, cmk, request.cipher_text, context)
            if len(data_key) != request.length:
                raise DatakeyCipherLengthInvalid(value=request.length)
        return data_key

    @EncryptData.handler
    def encrypt_data(self, call: Call, request: EncryptData) -> EncryptedData:
        """Encrypt up to 4096 bytes."""
        kind, context = GrantOperation.ENCRYPT_DATA, request.context
        with self._keys.using(call, kind, request.key_id, context) as (_, cmk):
            wrapped = self._keys.wrap(cmk, request.plain_text, context, Purpose.DATA)
        return EncryptedData(cmk.id, wrapped)

    @DecryptData.handler
    def decrypt_data(self, call: Call, request: DecryptData) -> DecryptedData:
        """The data; raises `CiphertextInvalid`."""
        wrapped, context = request.cipher_text, request.context
        named = request.key_id or _named(wrapped)
        with self._keys.using(call, GrantOperation.DECRYPT_DATA, named, context) as (use, cmk):
            data = self._keys.unwrap(use, cmk, wrapped, context, Purpose.DATA)
        return DecryptedData(cmk.id, data)

    @GenRandom.handler
    def gen_random(self, call: Call, request: GenRandom) -> bytes:
        """Random bytes from the token."""
        with self._keys.used(call, "gen-random", durable=False):
            return self._keys.token.random(request.bits)


def _named(wrapped: bytes) -> str:
    try:
        return envelope.parse(wrapped, Purpose.DATA).key_id
    except envelope.EnvelopeError as error:
        raise CiphertextInvalid(reason=error) from error
