"""Data keys, small data and random bytes."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from evsd.api.router import Router, router
from evsd.api.routes import Caller, Model, UsesKeys, needs
from evsd.services.kms import operations
from evsd.services.kms.errors import (
    DatakeyLengthMismatch,
    DatakeyLengthNotWhole,
    DatakeyLengthOutOfRange,
    DatakeySpecInvalid,
    EncryptionContextInvalid,
    RandomLengthInvalid,
)
from evsd.services.kms.permissions import KmsPermission
from evsd.services.kms.routes.bodies import BASE, Base64, Body, Hex, KeyReference, Number
from evsd.services.kms.style import KMS

CONTEXT_LIMIT = 8192
AAD_LIMIT = 128
DATA_LIMIT = 4096
SPEC_BITS = {"AES_256": 256, "AES_128": 128}
DIGEST_BYTES = 32


class Context(Model):
    """Either spelling of what a ciphertext is bound to."""

    additional_authenticated_data: str | None = None
    encryption_context: dict[str, str] | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Context:
        text, mapped = self.additional_authenticated_data, self.encryption_context
        if text is not None and mapped is not None:
            raise EncryptionContextInvalid(
                reason="additional_authenticated_data and encryption_context exclude each other"
            )
        if text is not None and len(text.encode()) > AAD_LIMIT:
            raise EncryptionContextInvalid(reason=f"longer than {AAD_LIMIT} bytes")
        if mapped is not None and len(json.dumps(mapped, ensure_ascii=False)) > CONTEXT_LIMIT:
            raise EncryptionContextInvalid(reason=f"longer than {CONTEXT_LIMIT} characters")
        return self

    @property
    def context(self) -> dict[str, str] | str:
        """What to bind; nothing given is the empty map."""
        if self.additional_authenticated_data is not None:
            return self.additional_authenticated_data
        return self.encryption_context or {}


class UseBody(Body, Context):
    """Every use of one key."""

    key_id: KeyReference


class CreateDatakeyBody(UseBody):
    """create-datakey and create-datakey-without-plaintext; a length wins over a spec."""

    datakey_length: Number | None = None
    key_spec: str | None = None

    @property
    def bits(self) -> int:
        """Length of the wanted data key; 256 where nothing is said."""
        if self.datakey_length is None:
            if self.key_spec is not None and self.key_spec not in SPEC_BITS:
                raise DatakeySpecInvalid(value=self.key_spec[:64])
            return SPEC_BITS.get(self.key_spec or "AES_256", 256)
        if not 8 <= self.datakey_length <= 8192:
            raise DatakeyLengthOutOfRange(value=self.datakey_length)
        if self.datakey_length % 8:
            raise DatakeyLengthNotWhole(value=self.datakey_length)
        return self.datakey_length


class EncryptDatakeyBody(UseBody):
    """encrypt-datakey: the data key and its SHA-256, both as hex, one behind the other."""

    plain_text: Hex
    datakey_plain_length: Annotated[Number, Field(ge=1, le=1024)]

    @property
    def parts(self) -> tuple[bytes, bytes]:
        """(data key, digest); raises `DatakeyLengthMismatch`."""
        if len(self.plain_text) != 2 * (self.datakey_plain_length + DIGEST_BYTES):
            raise DatakeyLengthMismatch(length=self.datakey_plain_length)
        both = bytes.fromhex(self.plain_text)
        return both[:-DIGEST_BYTES], both[-DIGEST_BYTES:]


class DecryptDatakeyBody(UseBody):
    """decrypt-datakey; the length is that of the data key in bytes, in spite of its name."""

    cipher_text: Hex
    datakey_cipher_length: Annotated[Number, Field(ge=1, le=1024)]


def _data(value: str) -> str:
    if not 1 <= len(value.encode()) <= DATA_LIMIT:
        raise ValueError(f"1 to {DATA_LIMIT} bytes of text")
    return value


Algorithm = Annotated[str, Field(pattern="^SYMMETRIC_DEFAULT$")]


class EncryptDataBody(UseBody):
    """encrypt-data."""

    plain_text: Annotated[str, AfterValidator(_data)]
    encryption_algorithm: Algorithm = "SYMMETRIC_DEFAULT"


class DecryptDataBody(Body, Context):
    """decrypt-data; the ciphertext names its key."""

    cipher_text: Annotated[Base64, Field(min_length=128, max_length=5648)]
    key_id: KeyReference | None = None
    encryption_algorithm: Algorithm = "SYMMETRIC_DEFAULT"


class RandomBody(Body):
    """gen-random."""

    random_data_length: Number = 512

    @property
    def bits(self) -> int:
        """How many random bits are wanted."""
        if not 8 <= self.random_data_length <= 8192 or self.random_data_length % 8:
            raise RandomLengthInvalid(value=self.random_data_length)
        return self.random_data_length


class SealedDatakey(Model):
    """Of create-datakey-without-plaintext."""

    key_id: str
    cipher_text: str


class Datakey(SealedDatakey):
    """Of create-datakey."""

    plain_text: str


class EncryptedDatakey(SealedDatakey):
    """Of encrypt-datakey."""

    datakey_length: str


class DecryptedDatakey(Model):
    """Of decrypt-datakey."""

    data_key: str
    datakey_length: str
    datakey_dgst: str


class EncryptedData(Model):
    """Of encrypt-data."""

    key_id: str
    cipher_text: str


class DecryptedData(Model):
    """Of decrypt-data."""

    key_id: str
    plain_text: str
    plain_text_base64: str


class RandomData(Model):
    """Of gen-random."""

    random_data: str


routes: Router = router(KMS, "KMS")


@routes.post(f"{BASE}/create-datakey", **needs(KmsPermission.DATAKEY_CREATE))
async def create_datakey(body: CreateDatakeyBody, call: Caller, keys: UsesKeys) -> Datakey:
    """A new data key, in clear and wrapped."""
    made = await _new_datakey(body, call, keys, plaintext=True)
    return Datakey(
        key_id=made.key_id,
        cipher_text=_hex(made.cipher_text),
        plain_text=_hex(made.plain_text),
    )


@routes.post(
    f"{BASE}/create-datakey-without-plaintext", **needs(KmsPermission.DATAKEY_CREATE_SEALED)
)
async def create_datakey_without_plaintext(
    body: CreateDatakeyBody, call: Caller, keys: UsesKeys
) -> SealedDatakey:
    """A new data key, wrapped only."""
    made = await _new_datakey(body, call, keys, plaintext=False)
    return SealedDatakey(key_id=made.key_id, cipher_text=_hex(made.cipher_text))


@routes.post(f"{BASE}/encrypt-datakey", **needs(KmsPermission.DATAKEY_ENCRYPT))
async def encrypt_datakey(
    body: EncryptDatakeyBody, call: Caller, keys: UsesKeys
) -> EncryptedDatakey:
    """Wrap a data key of the caller's."""
    data_key, digest = body.parts
    wanted = operations.EncryptDatakey(body.key_id, data_key, digest, body.context)
    made = await keys.ask(call, wanted)
    return EncryptedDatakey(
        key_id=made.key_id,
        cipher_text=_hex(made.cipher_text),
        datakey_length=str(body.datakey_plain_length),
    )


@routes.post(f"{BASE}/decrypt-datakey", **needs(KmsPermission.DATAKEY_DECRYPT))
async def decrypt_datakey(
    body: DecryptDatakeyBody, call: Caller, keys: UsesKeys
) -> DecryptedDatakey:
    """A wrapped data key in clear, with its SHA-256."""
    wanted = operations.DecryptDatakey(
        key_id=body.key_id,
        cipher_text=bytes.fromhex(body.cipher_text),
        length=body.datakey_cipher_length,
        context=body.context,
    )
    data_key = await keys.ask(call, wanted)
    return DecryptedDatakey(
        data_key=_hex(data_key),
        datakey_length=str(len(data_key)),
        datakey_dgst=_hex(hashlib.sha256(data_key).digest()),
    )


@routes.post(f"{BASE}/encrypt-data", **needs(KmsPermission.DATA_ENCRYPT))
async def encrypt_data(body: EncryptDataBody, call: Caller, keys: UsesKeys) -> EncryptedData:
    """Encrypt up to 4096 bytes of text."""
    wanted = operations.EncryptData(body.key_id, body.plain_text.encode(), body.context)
    made = await keys.ask(call, wanted)
    cipher_text = base64.b64encode(made.cipher_text).decode()
    return EncryptedData(key_id=made.key_id, cipher_text=cipher_text)


@routes.post(f"{BASE}/decrypt-data", **needs(KmsPermission.DATA_DECRYPT))
async def decrypt_data(body: DecryptDataBody, call: Caller, keys: UsesKeys) -> DecryptedData:
    """What was encrypted; the key is the one the ciphertext names."""
    cipher_text = base64.b64decode(body.cipher_text)
    wanted = operations.DecryptData(body.key_id, cipher_text, body.context)
    found = await keys.ask(call, wanted)
    return DecryptedData(
        key_id=found.key_id,
        plain_text=found.plain_text.decode(),
        plain_text_base64=base64.b64encode(found.plain_text).decode(),
    )


@routes.post(f"{BASE}/gen-random", **needs(KmsPermission.RANDOM))
async def gen_random(body: RandomBody, call: Caller, keys: UsesKeys) -> RandomData:
    """Random bytes from the HSM."""
    made = await keys.ask(call, operations.GenRandom(body.bits))
    return RandomData(random_data=_hex(made))


async def _new_datakey(
    body: CreateDatakeyBody, call: Caller, keys: UsesKeys, *, plaintext: bool
) -> operations.WrappedDatakey:
    wanted = operations.CreateDatakey(body.key_id, body.bits, body.context, plaintext)
    return await keys.ask(call, wanted)


def _hex(data: bytes) -> str:
    """As published."""
    return data.hex().upper()
