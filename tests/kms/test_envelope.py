"""The envelope in each profile, checked with `cryptography`, as its module draws it."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import struct

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from evsd.key_process import envelope
from evsd.key_process.envelope import Profile

KEY_ID = "0d0466b0-e727-4d9c-b35d-f84bb474a37f"
CONTEXT = {"volume_id": "v", "project_id": "p"}
# Made before there were profiles, under the key 00 01 … 1f.
OF_OLD = bytes.fromhex(
    "02009800a0a1a2a3a4a5a6a7a8a9aaabe6197e2e41ce04b86a6c8dd80b77ced160bd4b0386a2547b84173c9d63b6"
    "6b1ef25765dc8b07751a77b52ee32557add6772a747b56e52c4979673165984dbb8f33737a77f760ce3aa8e31885"
    "8b9934a0000000000000000000000000000000000000000030643034363662302d653732372d346439632d623335"
    "642d66383462623437346133376607000000193ed54167a9a22f192ff1f06fdb9b6cbefef2fd8325ff0b998ff097"
    "4a0a53bc"
)


class SoftwareKey:
    """A key by `cryptography`, in place of a token's; notes what is asked of it."""

    def __init__(self, profile: Profile, iv_length: int = 12) -> None:
        self.profile, self.iv_length = profile, iv_length
        self.raw, self.mac_key = os.urandom(32), os.urandom(32)
        self.asked: list[str] = []

    def gcm_encrypt(self, iv: bytes, aad: bytes, plaintext: bytes) -> bytes:
        return AESGCM(self.raw).encrypt(iv, plaintext, aad)

    def gcm_encrypt_hsm_iv(self, aad: bytes, plaintext: bytes) -> tuple[bytes, bytes]:
        iv = os.urandom(self.iv_length)
        return iv, self.gcm_encrypt(iv, aad, plaintext)

    def gcm_decrypt(self, iv: bytes, aad: bytes, ciphertext: bytes) -> bytes:
        try:
            return AESGCM(self.raw).decrypt(iv, ciphertext, aad)
        except InvalidTag as error:
            raise envelope.EnvelopeError("tag") from error

    def cbc_encrypt(self, iv: bytes, plaintext: bytes) -> bytes:
        encryptor = Cipher(algorithms.AES(self.raw), modes.CBC(iv)).encryptor()
        return encryptor.update(plaintext) + encryptor.finalize()

    def cbc_decrypt(self, iv: bytes, ciphertext: bytes) -> bytes:
        self.asked.append("cbc_decrypt")
        decryptor = Cipher(algorithms.AES(self.raw), modes.CBC(iv)).decryptor()
        return decryptor.update(ciphertext) + decryptor.finalize()

    def mac(self, data: bytes) -> bytes:
        self.asked.append("mac")
        return hmac.digest(self.mac_key, data, "sha256")


KINDS: dict[str, tuple[Profile, int]] = {
    "gcm": (Profile.GCM, 12),
    "cbc": (Profile.CBC_HMAC, 12),
    "hsm-iv": (Profile.GCM_HSM_IV, 12),
    "hsm-iv-of-16": (Profile.GCM_HSM_IV, 16),
}


@pytest.fixture(params=KINDS)
def key(request: pytest.FixtureRequest) -> SoftwareKey:
    return SoftwareKey(*KINDS[request.param])


def wrapped(key: SoftwareKey, data_key: bytes) -> bytes:
    return envelope.wrap(key, KEY_ID, 7, data_key, CONTEXT)


def bound(blob: bytes) -> bytes:
    """What is authenticated besides the ciphertext."""
    canonical = b"map:" + json.dumps(CONTEXT, sort_keys=True, separators=(",", ":")).encode()
    return blob[:4] + blob[-72:-32] + hashlib.sha256(canonical).digest()


@pytest.mark.parametrize("length", [1, 15, 16, 17, 32, 64, 1024, 4096])
def test_a_data_key_comes_back_with_its_key_id_and_version(key: SoftwareKey, length: int) -> None:
    data_key = os.urandom(length)
    parsed = envelope.parse(wrapped(key, data_key))
    assert (parsed.key_id, parsed.version, parsed.length) == (KEY_ID, 7, length)
    assert parsed.profile is key.profile
    assert envelope.unwrap(key, parsed, CONTEXT) == data_key


def test_a_512_bit_data_key_has_the_published_length(key: SoftwareKey) -> None:
    assert len(wrapped(key, os.urandom(64)).hex()) == 376


def test_what_was_wrapped_before_there_were_profiles_is_read_byte_for_byte() -> None:
    key = SoftwareKey(Profile.GCM)
    key.raw = bytes(range(32))
    assert envelope.unwrap(key, envelope.parse(OF_OLD), CONTEXT) == bytes(range(64))
    # On a token that makes its IVs from some day on, too.
    key.profile = Profile.GCM_HSM_IV
    assert envelope.unwrap(key, envelope.parse(OF_OLD), CONTEXT) == bytes(range(64))


@pytest.mark.parametrize(
    ("profile", "first"), [(Profile.GCM, 2), (Profile.CBC_HMAC, 3), (Profile.GCM_HSM_IV, 4)]
)
def test_the_frame_is_the_drawn_one(profile: Profile, first: int) -> None:
    blob = wrapped(SoftwareKey(profile), os.urandom(64))
    assert blob[:4] == bytes([first, 0]) + struct.pack("<H", 152)
    assert blob[116:152] == KEY_ID.encode()
    assert blob[152:156] == struct.pack("<I", 7)
    assert blob[156:] == hashlib.sha256(blob[:156]).digest()


def test_the_layout_with_gcm_is_the_drawn_one() -> None:
    key, data_key = SoftwareKey(Profile.GCM), os.urandom(64)
    blob = wrapped(key, data_key)
    assert blob[96:116] == bytes(20)
    assert AESGCM(key.raw).decrypt(blob[4:16], blob[16:96], bound(blob)) == data_key


@pytest.mark.parametrize("iv_length", [12, 16])
def test_the_layout_with_the_hsms_iv_is_the_drawn_one(iv_length: int) -> None:
    key, data_key = SoftwareKey(Profile.GCM_HSM_IV, iv_length), os.urandom(64)
    blob = wrapped(key, data_key)
    assert blob[4 + iv_length : 20] == bytes(16 - iv_length)
    assert blob[100:116] == bytes([iv_length]) + bytes(15)
    iv, ciphertext = blob[4 : 4 + iv_length], blob[20:100]
    assert AESGCM(key.raw).decrypt(iv, ciphertext, bound(blob)) == data_key


@pytest.mark.parametrize("length", [64, 50])
def test_the_layout_with_cbc_is_the_drawn_one(length: int) -> None:
    key, data_key = SoftwareKey(Profile.CBC_HMAC), os.urandom(length)
    blob = wrapped(key, data_key)
    iv, ciphertext, mac = blob[4:20], blob[20:84], blob[84:116]
    assert mac == hmac.digest(key.mac_key, bound(blob) + iv + ciphertext, "sha256")
    decryptor = Cipher(algorithms.AES(key.raw), modes.CBC(iv)).decryptor()
    assert decryptor.update(ciphertext) == data_key + bytes(64 - length)


def test_no_flipped_bit_goes_unnoticed_even_with_the_digest_mended(key: SoftwareKey) -> None:
    blob = wrapped(key, os.urandom(64))
    for bit in range(156 * 8):
        body = bytearray(blob[:156])
        body[bit // 8] ^= 1 << bit % 8
        mended = bytes(body) + hashlib.sha256(body).digest()
        with pytest.raises(envelope.EnvelopeError):
            envelope.unwrap(key, envelope.parse(mended), CONTEXT)


@pytest.mark.parametrize("length", range(49, 64))
def test_how_much_was_filled_up_can_not_be_changed(length: int) -> None:
    key = SoftwareKey(Profile.CBC_HMAC)
    blob = wrapped(key, os.urandom(64))
    body = blob[:2] + struct.pack("<H", length + 88) + blob[4:156]
    parsed = envelope.parse(body + hashlib.sha256(body).digest())
    with pytest.raises(envelope.EnvelopeError):
        envelope.unwrap(key, parsed, CONTEXT)


def test_nothing_is_decrypted_with_cbc_before_its_mac_was_right() -> None:
    key = SoftwareKey(Profile.CBC_HMAC)
    parsed = envelope.parse(wrapped(key, os.urandom(64)))
    with pytest.raises(envelope.EnvelopeError):
        envelope.unwrap(key, parsed, {"another": "context"})
    assert "cbc_decrypt" not in key.asked
    envelope.unwrap(key, parsed, CONTEXT)
    assert key.asked[-2:] == ["mac", "cbc_decrypt"]


def test_no_envelope_of_one_profile_is_opened_as_one_of_another(key: SoftwareKey) -> None:
    blob = wrapped(key, os.urandom(64))
    for other in {2, 3, 4} - {blob[0]}:
        body = bytes([other]) + blob[1:156]
        parsed = envelope.parse(body + hashlib.sha256(body).digest())
        with pytest.raises(envelope.EnvelopeError):
            envelope.unwrap(key, parsed, CONTEXT)


def test_no_truncated_envelope_is_accepted(key: SoftwareKey) -> None:
    blob = wrapped(key, os.urandom(64))
    for length in range(len(blob)):
        with pytest.raises(envelope.EnvelopeError):
            envelope.parse(blob[:length])


@pytest.mark.parametrize(
    "context",
    [{}, {"volume_id": "v"}, {"volume_id": "w", "project_id": "p"}, "", json.dumps(CONTEXT)],
)
def test_another_encryption_context_is_refused(
    key: SoftwareKey, context: dict[str, str] | str
) -> None:
    parsed = envelope.parse(wrapped(key, os.urandom(64)))
    with pytest.raises(envelope.EnvelopeError):
        envelope.unwrap(key, parsed, context)


def test_another_key_is_refused(key: SoftwareKey) -> None:
    parsed = envelope.parse(wrapped(key, os.urandom(64)))
    other = SoftwareKey(key.profile)
    with pytest.raises(envelope.EnvelopeError):
        envelope.unwrap(other, parsed, CONTEXT)


def test_the_keys_of_imported_material_are_derived_as_drawn() -> None:
    material = os.urandom(32)
    expected = tuple(
        HKDF(hashes.SHA256(), 32, None, f"evsd imported material: {use}".encode()).derive(material)
        for use in ("encryption", "authentication")
    )
    assert envelope.material_keys(material) == expected
    assert len({material, *expected}) == 3
