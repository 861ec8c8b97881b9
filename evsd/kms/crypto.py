r"""Every cryptographic primitive of the control plane; the data path's are in `nbd_plugin`.

The envelope: a data key, or up to 4096 bytes of data, encrypted under one version of a CMK by
AES-256-GCM on the token. Numbers are little-endian; n is the length of what is encrypted::

    offset  length  field
    0       1       format: 0x02
    1       1       purpose: 0x00 data key, 0x01 data, 0x02 import token
    2       2       length of what follows up to the digest: n + 88
    4       12      IV, random
    16      n       AES-256-GCM ciphertext
    16+n    16      AES-256-GCM tag
    32+n    20      zeros
    52+n    36      CMK id, ASCII
    88+n    4       CMK version
    92+n    32      SHA-256 of all bytes before: finds damage without asking the token; not a MAC

    AAD = bytes 0..3 | bytes 52+n..91+n | SHA-256(canonical encryption context)

For a 512-bit data key that is 188 bytes, 376 hex digits, the published length. The CMK id and
version, the purpose and the encryption context are thereby authenticated; the 20 zero bytes are
checked to be zero, so no bit of an envelope can change unnoticed.

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
from enum import IntEnum
from typing import Protocol

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

FORMAT = 0x02
IV_LENGTH = 12
MATERIAL_LENGTH = 32
OAEP_HASHES: dict[str, hashes.HashAlgorithm] = {
    "RSAES_OAEP_SHA_256": hashes.SHA256(),
    "RSAES_OAEP_SHA_1": hashes.SHA1(),  # noqa: S303 - published; OAEP does not need it collision-free
}
TAG_LENGTH = 16
OVERHEAD = 4 + IV_LENGTH + TAG_LENGTH + 20 + 36 + 4 + 32

RELEASE_INFO = b"evsd key release v1:"
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


class GcmKey(Protocol):
    """A key on the token that does AES-256-GCM; ciphertexts end with the 16-byte tag."""

    def encrypt(self, iv: bytes, aad: bytes, plaintext: bytes) -> bytes:
        """Encrypt and authenticate."""

    def decrypt(self, iv: bytes, aad: bytes, ciphertext: bytes) -> bytes:
        """Check and decrypt; raises `EnvelopeError` where the tag does not match."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A parsed envelope; nothing in it is trusted before `unwrap`."""

    header: bytes
    iv: bytes
    ciphertext: bytes
    tail: bytes

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
        return len(self.ciphertext) - TAG_LENGTH


def wrap(
    key: GcmKey,
    key_id: str,
    version: int,
    data: bytes,
    context: Mapping[str, str] | str,
    purpose: Purpose = Purpose.DATA_KEY,
) -> bytes:
    """Encrypt `data` under the CMK, bound to `context`."""
    header = struct.pack("<BBH", FORMAT, purpose, len(data) + 88)
    tail = key_id.encode("ascii") + version.to_bytes(4, "little")
    iv = os.urandom(IV_LENGTH)
    ciphertext = key.encrypt(iv, _aad(header, tail, context), data)
    body = header + iv + ciphertext + bytes(20) + tail
    return body + hashlib.sha256(body).digest()


def parse(blob: bytes, purpose: Purpose = Purpose.DATA_KEY) -> Envelope:
    """Take an envelope apart; raises `EnvelopeError` for anything that is not one."""
    if len(blob) <= OVERHEAD:
        raise EnvelopeError("it is too short")
    fmt, found, length = struct.unpack_from("<BBH", blob)
    if (fmt, found) != (FORMAT, purpose) or length + 36 != len(blob):
        raise EnvelopeError("it has no envelope's beginning or length")
    body, digest = blob[:-32], blob[-32:]
    if not hmac.compare_digest(hashlib.sha256(body).digest(), digest):
        raise EnvelopeError("its digest does not match, it was damaged")
    if any(body[-60:-40]) or not body[-40:-4].isascii():
        raise EnvelopeError("its key id is malformed")
    return Envelope(body[:4], body[4:16], body[16:-60], body[-40:])


def unwrap(key: GcmKey, envelope: Envelope, context: Mapping[str, str] | str) -> bytes:
    """What is in it; raises `EnvelopeError` where key, context or bytes are not the right ones."""
    aad = _aad(envelope.header, envelope.tail, context)
    return key.decrypt(envelope.iv, aad, envelope.ciphertext)


def _aad(header: bytes, tail: bytes, context: Mapping[str, str] | str) -> bytes:
    return header + tail + hashlib.sha256(_canonical(context)).digest()


def _canonical(context: Mapping[str, str] | str) -> bytes:
    """Text and map spelled so that no text equals any map."""
    if isinstance(context, str):
        return b"text:" + context.encode()
    spelled = json.dumps(dict(context), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return b"map:" + spelled.encode()


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


def new_data_key(bits: int) -> bytes:
    """A random data key of `bits` bits."""
    return os.urandom(bits // 8)


def new_access_key() -> tuple[str, str]:
    """An access key id of 20 characters and its secret of 40."""
    letters = string.ascii_uppercase + string.digits
    access = "".join(secrets.choice(letters) for _ in range(20))
    return access, "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(40))


def new_security_token() -> str:
    """What goes with a temporary access key, and is compared with its digest."""
    return secrets.token_urlsafe(96)


def same_secret(left: str, right: str | None) -> bool:
    """Compare secrets or their digests in constant time."""
    return right is not None and hmac.compare_digest(left.encode(), right.encode())


def ticket_digest(ticket: str) -> str:
    """What is stored of an attachment's ticket."""
    return hashlib.sha256(ticket.encode()).hexdigest()
