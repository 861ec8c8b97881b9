"""The envelope, checked with `cryptography`'s AES-GCM by the drawing in `evsd.kms.crypto`."""

from __future__ import annotations

import hashlib
import json
import os
import struct

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from evsd.kms import crypto

KEY_ID = "0d0466b0-e727-4d9c-b35d-f84bb474a37f"
CONTEXT = {"volume_id": "v", "project_id": "p"}


class SoftwareKey:
    """AES-256-GCM by `cryptography`, in place of a token's key."""

    def __init__(self) -> None:
        self.raw = AESGCM.generate_key(256)

    def encrypt(self, iv: bytes, aad: bytes, plaintext: bytes) -> bytes:
        return AESGCM(self.raw).encrypt(iv, plaintext, aad)

    def decrypt(self, iv: bytes, aad: bytes, ciphertext: bytes) -> bytes:
        try:
            return AESGCM(self.raw).decrypt(iv, ciphertext, aad)
        except InvalidTag as error:
            raise crypto.EnvelopeError("tag") from error


@pytest.fixture
def key() -> SoftwareKey:
    return SoftwareKey()


def wrapped(key: SoftwareKey, data_key: bytes) -> bytes:
    return crypto.wrap(key, KEY_ID, 7, data_key, CONTEXT)


@pytest.mark.parametrize("length", [1, 16, 32, 64, 1024])
def test_a_data_key_comes_back_with_its_key_id_and_version(key: SoftwareKey, length: int) -> None:
    data_key = os.urandom(length)
    envelope = crypto.parse(wrapped(key, data_key))
    assert (envelope.key_id, envelope.version, envelope.length) == (KEY_ID, 7, length)
    assert crypto.unwrap(key, envelope, CONTEXT) == data_key


def test_a_512_bit_data_key_has_the_published_length(key: SoftwareKey) -> None:
    assert len(wrapped(key, os.urandom(64)).hex()) == 376


def test_the_layout_is_the_drawn_one(key: SoftwareKey) -> None:
    data_key = os.urandom(64)
    blob = wrapped(key, data_key)
    assert blob[:4] == b"\x02\x00" + struct.pack("<H", 152)
    assert blob[96:116] == bytes(20)
    assert blob[116:152] == KEY_ID.encode()
    assert blob[152:156] == struct.pack("<I", 7)
    assert blob[156:] == hashlib.sha256(blob[:156]).digest()
    canonical = b"map:" + json.dumps(CONTEXT, sort_keys=True, separators=(",", ":")).encode()
    aad = blob[:4] + blob[116:156] + hashlib.sha256(canonical).digest()
    assert AESGCM(key.raw).decrypt(blob[4:16], blob[16:96], aad) == data_key


def test_no_flipped_bit_goes_unnoticed_even_with_the_digest_mended(key: SoftwareKey) -> None:
    blob = wrapped(key, os.urandom(64))
    for bit in range(156 * 8):
        body = bytearray(blob[:156])
        body[bit // 8] ^= 1 << bit % 8
        mended = bytes(body) + hashlib.sha256(body).digest()
        with pytest.raises(crypto.EnvelopeError):
            crypto.unwrap(key, crypto.parse(mended), CONTEXT)


def test_no_truncated_envelope_is_accepted(key: SoftwareKey) -> None:
    blob = wrapped(key, os.urandom(64))
    for length in range(len(blob)):
        with pytest.raises(crypto.EnvelopeError):
            crypto.parse(blob[:length])


@pytest.mark.parametrize(
    "context",
    [{}, {"volume_id": "v"}, {"volume_id": "w", "project_id": "p"}, "", json.dumps(CONTEXT)],
)
def test_another_encryption_context_is_refused(
    key: SoftwareKey, context: dict[str, str] | str
) -> None:
    envelope = crypto.parse(wrapped(key, os.urandom(64)))
    with pytest.raises(crypto.EnvelopeError):
        crypto.unwrap(key, envelope, context)


def test_another_key_is_refused(key: SoftwareKey) -> None:
    envelope = crypto.parse(wrapped(key, os.urandom(64)))
    with pytest.raises(crypto.EnvelopeError):
        crypto.unwrap(SoftwareKey(), envelope, CONTEXT)
