r"""Every cryptographic primitive of the control plane; the data path's are in `nbd_plugin`.

The envelope: a data key, or up to 4096 bytes of data, encrypted under one version of a CMK on the
token. Numbers are little-endian; n is the length of what is encrypted, p that rounded up to 16::

    offset  length  field
    0       1       format, which is the profile: 0x02, 0x03, 0x04
    1       1       purpose: 0x00 data key, 0x01 data, 0x02 import token
    2       2       n + 88
    4               what the profile makes of it, 48 bytes more than n or p
    then    36      CMK id, ASCII
            4       CMK version
            32      SHA-256 of all bytes before: finds damage without asking the token; not a MAC

    bound = bytes 0..3 | CMK id | CMK version | SHA-256(canonical encryption context)

    0x02  AES-256-GCM with an IV of ours            IV 12 | ciphertext n | tag 16 | zeros 20
          AAD = bound
    0x03  AES-256-CBC, then HMAC-SHA256             IV 16 | ciphertext p | MAC 32
          MAC = HMAC(bound | IV | ciphertext), under a key of its own
    0x04  AES-256-GCM with an IV of the token's     IV, zeros up to 16 | ciphertext n | tag 16 |
          AAD = bound                               length of the IV 1 | zeros 15

For a 512-bit data key that is 188 bytes, 376 hex digits, the published length. Profile, purpose,
length, CMK id and version and the encryption context are thereby authenticated; zero bytes are
checked to be zero, so no bit of an envelope can change unnoticed. `bound` is 76 bytes long whatever
is in it, so no two (bound, IV, ciphertext) are encoded alike. What is encrypted with CBC is filled
up with zeros, whose number the authenticated length tells; a MAC is compared before anything is
decrypted. A key of imported material m is m itself with GCM; with CBC and HMAC its two keys are
HKDF-SHA256(m), info "evsd imported material: encryption" and "...: authentication".

Import: key material travels under RSA-2048 OAEP to a transport key made for one import. Its private
half is in the import token, an envelope of purpose 0x02 under the service's own key, and nowhere
else; SoftHSM's OAEP knows no SHA-256, so the material is decrypted here and not on the token.

The seal: a data key on its way to the server of a volume, RFC 9180 HPKE in base mode with
DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM, info = ``evsd key release v1:<attachment
id>`` and no AAD. The recipient's key is made for one request and never used again.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import string
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Protocol

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from nbd_plugin.release import RELEASE_INFO

IV_LENGTH = 12  # of AES-GCM, where it is ours
LONGEST_IV = 16
TAG_LENGTH = 16
BLOCK = 16
MAC_LENGTH = 32
MATERIAL_LENGTH = 32
OAEP_HASHES: dict[str, hashes.HashAlgorithm] = {
    "RSAES_OAEP_SHA_256": hashes.SHA256(),
    "RSAES_OAEP_SHA_1": hashes.SHA1(),  # noqa: S303 - published; OAEP does not need it collision-free
}
# Of an envelope: what stands before and behind the profile's part, and what that adds to the data.
HEADER, TAIL, DIGEST, ADDED = 4, 40, 32, 48
OVERHEAD = HEADER + ADDED + TAIL + DIGEST

ENCAPSULATED_LENGTH = 32
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)

# The DEK of a volume is 512 random bits, so stretching adds nothing; 1000 is cryptsetup's minimum.
DIGEST_ITERATIONS = 1000


class Purpose(IntEnum):
    """What an envelope holds; authenticated, so that none is ever taken for another."""

    DATA_KEY = 0x00
    DATA = 0x01
    IMPORT_TOKEN = 0x02


class EnvelopeError(ValueError):
    """Bytes that are no envelope of ours, or one that was changed."""


class Profile(StrEnum):
    """How a token encrypts; the best that it can is taken when a key is made."""

    GCM = "aes-gcm"
    GCM_HSM_IV = "aes-gcm-hsm-iv"  # for tokens that insist on making the IV
    CBC_HMAC = "aes-cbc-hmac-sha256"

    @property
    def words(self) -> str:
        """It, as people write it."""
        return {
            Profile.GCM: "AES-GCM",
            Profile.GCM_HSM_IV: "AES-GCM with the HSM's IV",
            Profile.CBC_HMAC: "AES-CBC and HMAC-SHA256",
        }[self]


class WrappingKey(Protocol):
    """A key on the token; `profile` says which of its methods it has."""

    @property
    def profile(self) -> Profile:
        """How it encrypts now."""

    def gcm_encrypt(self, iv: bytes, aad: bytes, plaintext: bytes) -> bytes:
        """Encrypt and authenticate; the 16-byte tag is at the end."""

    def gcm_encrypt_hsm_iv(self, aad: bytes, plaintext: bytes) -> tuple[bytes, bytes]:
        """The same with an IV that the token makes, which is answered first."""

    def gcm_decrypt(self, iv: bytes, aad: bytes, ciphertext: bytes) -> bytes:
        """Check and decrypt; raises `EnvelopeError` where the tag does not match."""

    def cbc_encrypt(self, iv: bytes, plaintext: bytes) -> bytes:
        """Encrypt whole blocks."""

    def cbc_decrypt(self, iv: bytes, ciphertext: bytes) -> bytes:
        """Decrypt whole blocks; checks nothing."""

    def mac(self, data: bytes) -> bytes:
        """HMAC-SHA256."""


class _Gcm:
    """0x02."""

    format = 0x02

    def seal(self, key: WrappingKey, bound: bytes, data: bytes) -> bytes:
        iv = os.urandom(IV_LENGTH)
        return iv + key.gcm_encrypt(iv, bound, data) + bytes(20)

    def open(self, key: WrappingKey, bound: bytes, sealed: bytes, _length: int) -> bytes:
        return key.gcm_decrypt(sealed[:IV_LENGTH], bound, _without_zeros(sealed, 20)[IV_LENGTH:])


class _CbcHmac:
    """0x03."""

    format = 0x03

    def seal(self, key: WrappingKey, bound: bytes, data: bytes) -> bytes:
        iv = os.urandom(BLOCK)
        sealed = iv + key.cbc_encrypt(iv, data + bytes(-len(data) % BLOCK))
        return sealed + key.mac(bound + sealed)

    def open(self, key: WrappingKey, bound: bytes, sealed: bytes, length: int) -> bytes:
        sealed, mac = sealed[:-MAC_LENGTH], sealed[-MAC_LENGTH:]
        if not hmac.compare_digest(key.mac(bound + sealed), mac):
            raise EnvelopeError("key, encryption context or bytes are not the right ones")
        return key.cbc_decrypt(sealed[:BLOCK], sealed[BLOCK:])[:length]


class _GcmHsmIv:
    """0x04."""

    format = 0x04

    def seal(self, key: WrappingKey, bound: bytes, data: bytes) -> bytes:
        iv, ciphertext = key.gcm_encrypt_hsm_iv(bound, data)
        return iv.ljust(LONGEST_IV, b"\0") + ciphertext + bytes([len(iv)]) + bytes(15)

    def open(self, key: WrappingKey, bound: bytes, sealed: bytes, _length: int) -> bytes:
        sealed = _without_zeros(sealed, 15)
        length, ciphertext = sealed[-1], sealed[LONGEST_IV:-1]
        if not IV_LENGTH <= length <= LONGEST_IV or any(sealed[length:LONGEST_IV]):
            raise EnvelopeError("its IV is malformed")
        return key.gcm_decrypt(sealed[:length], bound, ciphertext)


_LAYOUTS: dict[Profile, _Gcm | _CbcHmac | _GcmHsmIv] = {
    Profile.GCM: _Gcm(),
    Profile.CBC_HMAC: _CbcHmac(),
    Profile.GCM_HSM_IV: _GcmHsmIv(),
}
# By the first byte: (profile, layout).
_FORMATS = {layout.format: (profile, layout) for profile, layout in _LAYOUTS.items()}


@dataclass(frozen=True, slots=True)
class Envelope:
    """A parsed envelope; nothing in it is trusted before `unwrap`."""

    header: bytes
    sealed: bytes
    tail: bytes

    @property
    def profile(self) -> Profile:
        """How it is said to have been encrypted."""
        return _FORMATS[self.header[0]][0]

    @property
    def key_id(self) -> str:
        """Id of the CMK that is said to have wrapped it."""
        return self.tail[:36].decode("ascii")

    @property
    def version(self) -> int:
        """Version of that CMK."""
        return int.from_bytes(self.tail[36:], "little")

    @property
    def length(self) -> int:
        """Length of the data key in bytes."""
        return _length(self.header)


def wrap(
    key: WrappingKey,
    key_id: str,
    version: int,
    data: bytes,
    context: Mapping[str, str] | str,
    purpose: Purpose = Purpose.DATA_KEY,
) -> bytes:
    """Encrypt `data` under the CMK, bound to `context`, in the key's profile."""
    layout = _LAYOUTS[key.profile]
    header = struct.pack("<BBH", layout.format, purpose, len(data) + 88)
    tail = key_id.encode("ascii") + version.to_bytes(4, "little")
    body = header + layout.seal(key, _bound(header, tail, context), data) + tail
    return body + hashlib.sha256(body).digest()


def parse(blob: bytes, purpose: Purpose = Purpose.DATA_KEY) -> Envelope:
    """Take an envelope apart; raises `EnvelopeError` for anything that is not one."""
    if len(blob) <= OVERHEAD:
        raise EnvelopeError("it is too short")
    if blob[0] not in _FORMATS or blob[1] != purpose or _whole(blob[:HEADER]) != len(blob):
        raise EnvelopeError("it has no envelope's beginning or length")
    body, digest = blob[:-DIGEST], blob[-DIGEST:]
    if not hmac.compare_digest(hashlib.sha256(body).digest(), digest):
        raise EnvelopeError("its digest does not match, it was damaged")
    if not body[-TAIL:-4].isascii():
        raise EnvelopeError("its key id is malformed")
    return Envelope(body[:HEADER], body[HEADER:-TAIL], body[-TAIL:])


def unwrap(key: WrappingKey, envelope: Envelope, context: Mapping[str, str] | str) -> bytes:
    """What is in it; raises `EnvelopeError` where key, context or bytes are not the right ones."""
    profile, layout = _FORMATS[envelope.header[0]]
    # The key decides, not the envelope: an AES key does either GCM or CBC for its whole life.
    if (profile is Profile.CBC_HMAC) != (key.profile is Profile.CBC_HMAC):
        raise EnvelopeError("it is of another profile than its key")
    bound = _bound(envelope.header, envelope.tail, context)
    return layout.open(key, bound, envelope.sealed, envelope.length)


def _length(header: bytes) -> int:
    return int.from_bytes(header[2:], "little") - 88


def _whole(header: bytes) -> int:
    """How long an envelope is that begins so."""
    length = _length(header)
    if header[0] == _CbcHmac.format:
        length += -length % BLOCK
    return length + OVERHEAD


def _without_zeros(sealed: bytes, count: int) -> bytes:
    if any(sealed[-count:]):
        raise EnvelopeError("what must be zero in it is not")
    return sealed[:-count]


def _bound(header: bytes, tail: bytes, context: Mapping[str, str] | str) -> bytes:
    return header + tail + hashlib.sha256(_canonical(context)).digest()


def _canonical(context: Mapping[str, str] | str) -> bytes:
    """Text and map encoded so that no text equals any map."""
    if isinstance(context, str):
        return b"text:" + context.encode()
    encoded = json.dumps(dict(context), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return b"map:" + encoded.encode()


def seal(data_key: bytes, public_key: bytes, attachment_id: str) -> tuple[bytes, bytes]:
    """Seal a data key to the one-time key of an attachment's server.

    Returns (encapsulated key, 32 bytes; sealed data key with its tag).
    """
    recipient = X25519PublicKey.from_public_bytes(public_key)
    sealed = _SUITE.encrypt(data_key, recipient, RELEASE_INFO + attachment_id.encode("ascii"))
    return sealed[:ENCAPSULATED_LENGTH], sealed[ENCAPSULATED_LENGTH:]


@dataclass(frozen=True, slots=True)
class KeyDigest:
    """LUKS2's digest of a volume key: PBKDF2-HMAC-SHA256."""

    salt: bytes
    iterations: int
    value: bytes


def volume_key_digest(data_key: bytes) -> KeyDigest:
    """The digest a LUKS2 header carries, to tell a wrong key before it destroys anything."""
    salt = os.urandom(32)
    return KeyDigest(salt, DIGEST_ITERATIONS, _pbkdf2(data_key, salt, DIGEST_ITERATIONS))


def has_digest(data_key: bytes, digest: KeyDigest) -> bool:
    """Whether a header's digest is of this key."""
    value = _pbkdf2(data_key, digest.salt, digest.iterations)
    return hmac.compare_digest(value, digest.value)


def _pbkdf2(data_key: bytes, salt: bytes, iterations: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", data_key, salt, iterations, dklen=32)


def new_transport_key() -> tuple[bytes, bytes]:
    """A key pair for one import: (PKCS#8, SubjectPublicKeyInfo), both DER."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return (
        private.private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
    )


def open_material(private_key: bytes, algorithm: str, material: bytes) -> bytes:
    """Imported key material in clear; raises ValueError. `algorithm` is one of `OAEP_HASHES`."""
    key = serialization.load_der_private_key(private_key, None)
    assert isinstance(key, rsa.RSAPrivateKey)  # noqa: S101 - we made it
    digest = OAEP_HASHES[algorithm]
    return key.decrypt(material, padding.OAEP(padding.MGF1(digest), digest, None))


def material_digest(key_id: str, material: bytes) -> str:
    """What is kept of imported material, to tell whether it is the same another time."""
    return hashlib.sha256(b"evsd imported material:" + key_id.encode() + material).hexdigest()


def material_keys(material: bytes) -> tuple[bytes, bytes]:
    """The keys for AES-CBC and for HMAC that imported material stands for."""
    cipher, mac = (
        HKDF(hashes.SHA256(), 32, None, b"evsd imported material: " + use).derive(material)
        for use in (b"encryption", b"authentication")
    )
    return cipher, mac


def new_data_key(bits: int) -> bytes:
    """A random data key of `bits` bits."""
    return os.urandom(bits // 8)


def new_access_key() -> tuple[str, str]:
    """An access key id of 20 characters and its secret of 40."""
    return _new_id(), "".join(
        secrets.choice(string.ascii_letters + string.digits) for _ in range(40)
    )


def new_bearer_token() -> tuple[str, str]:
    """A token's id of 20 characters, and the token: its id, a dot, and 43 characters of secret."""
    token_id = _new_id()
    return token_id, f"{token_id}.{secrets.token_urlsafe(32)}"


def _new_id() -> str:
    return "".join(secrets.choice(string.ascii_uppercase + string.digits) for _ in range(20))


def new_security_token() -> str:
    """What goes with a temporary access key, and is compared with its digest."""
    return secrets.token_urlsafe(96)


def same_secret(left: str, right: str | None) -> bool:
    """Compare secrets or their digests in constant time."""
    return right is not None and hmac.compare_digest(left.encode(), right.encode())
