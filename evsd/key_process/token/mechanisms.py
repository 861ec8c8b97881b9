"""What is done with the objects of one key, in the profiles of `envelope`, by python-pkcs11.

A key is one AES object, or two: an AES object for CBC and a generic secret for HMAC-SHA256. All are
sensitive and can't be extracted. Which profile a token can do is found out by doing it: lists of
mechanisms name some that fail, and leave out how they want their parameters.
"""

from __future__ import annotations

import contextlib
import ctypes
import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass
from pkcs11.exceptions import MechanismInvalid, PKCS11Error
from pkcs11.mechanisms import GCMParams

from evsd.key_process.envelope import (
    BLOCK,
    IV_LENGTH,
    LONGEST_IV,
    MAC_LENGTH,
    TAG_LENGTH,
    EnvelopeError,
    Profile,
    material_keys,
)

FIXED = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
SECRET_LENGTH = 32


class Lacking(Exception):
    """The module did something, but not what is needed; the message says what."""


@dataclass(frozen=True, slots=True)
class Ability:
    """The best profile of a token, and how many bytes it wants for an IV of its own.

    Known hardware either writes its IV into the zeros it was given (12: AWS CloudHSM) or is given
    nothing and lets it follow the tag (0: Thales Luna in FIPS mode).
    """

    profile: Profile
    room: int = 0


@dataclass(frozen=True, slots=True)
class KeyObjects:
    """The objects of one key; `mac` only with CBC."""

    cipher: Any
    mac: Any = None


class _GcmParameters(ctypes.Structure):
    """CK_GCM_PARAMS: python-pkcs11's can't give an IV back, nor take one of 16 bytes."""

    _fields_ = (
        ("iv", ctypes.c_void_p),
        ("iv_length", ctypes.c_ulong),
        ("iv_bits", ctypes.c_ulong),
        ("aad", ctypes.c_void_p),
        ("aad_length", ctypes.c_ulong),
        ("tag_bits", ctypes.c_ulong),
    )


# --- objects --------------------------------------------------------------------------------------


def cipher_label(label: str, profile: Profile) -> str:
    """What the AES object of a key is called, so that none is ever used for both modes."""
    return f"{label}/cbc" if profile is Profile.CBC_HMAC else label


def mac_label(label: str) -> str:
    """What the other object of a key is called."""
    return f"{label}/mac"


def generate(session: Any, label: str, profile: Profile, *, store: bool) -> KeyObjects:
    """Make a key. The AES object is made last, so where there is one the key is whole."""
    mac = None
    if profile is Profile.CBC_HMAC:
        mac = session.generate_key(
            KeyType.GENERIC_SECRET,
            MAC_LENGTH * 8,
            label=mac_label(label),
            store=store,
            capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
            mechanism=Mechanism.GENERIC_SECRET_KEY_GEN,
            template=FIXED,
        )
    cipher = session.generate_key(
        KeyType.AES,
        256,
        label=cipher_label(label, profile),
        store=store,
        capabilities=MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT,
        template=FIXED,
    )
    return KeyObjects(cipher, mac)


def create(
    session: Any, label: str, profile: Profile, material: bytes, *, store: bool
) -> KeyObjects:
    """Put a key of imported material on the token, in the order of `generate`."""
    if profile is not Profile.CBC_HMAC:
        return KeyObjects(_create_cipher(session, label, material, store=store))
    for_cipher, for_mac = material_keys(material)
    mac = session.create_object(
        {
            **_secret(mac_label(label), KeyType.GENERIC_SECRET, for_mac, store=store),
            Attribute.SIGN: True,
            Attribute.VERIFY: True,
        }
    )
    name = cipher_label(label, profile)
    return KeyObjects(_create_cipher(session, name, for_cipher, store=store), mac)


def _create_cipher(session: Any, label: str, value: bytes, *, store: bool) -> Any:
    return session.create_object(
        {
            **_secret(label, KeyType.AES, value, store=store),
            Attribute.ENCRYPT: True,
            Attribute.DECRYPT: True,
        }
    )


def _secret(label: str, key_type: KeyType, value: bytes, *, store: bool) -> dict[Attribute, object]:
    return {
        Attribute.CLASS: ObjectClass.SECRET_KEY,
        Attribute.KEY_TYPE: key_type,
        Attribute.VALUE: value,
        Attribute.LABEL: label,
        Attribute.TOKEN: store,
        Attribute.PRIVATE: True,
        **FIXED,
    }


# --- what is done with them -----------------------------------------------------------------------


def gcm_encrypt(key: KeyObjects, iv: bytes, aad: bytes, plaintext: bytes) -> bytes:
    """AES-GCM with an IV of ours; the tag is at the end."""
    return bytes(
        key.cipher.encrypt(
            plaintext, mechanism=Mechanism.AES_GCM, mechanism_param=_parameters(iv, aad)
        )
    )


def gcm_encrypt_hsm_iv(
    key: KeyObjects, room: int, aad: bytes, plaintext: bytes
) -> tuple[bytes, bytes]:
    """AES-GCM with an IV of the token's: that, and the ciphertext with its tag."""
    given = ctypes.create_string_buffer(room) if room else None
    parameters = _raw_parameters(given, aad)
    sealed = bytes(
        key.cipher.encrypt(plaintext, mechanism=Mechanism.AES_GCM, mechanism_param=parameters)
    )
    behind = len(sealed) - len(plaintext) - TAG_LENGTH
    if IV_LENGTH <= behind <= LONGEST_IV:
        return sealed[-behind:], sealed[:-behind]
    if behind == 0 and given is not None and any(given.raw):
        return given.raw, sealed
    raise Lacking("the token made no IV, or does not tell it")  # with the zeros all would be lost


def gcm_decrypt(key: KeyObjects, iv: bytes, aad: bytes, ciphertext: bytes) -> bytes:
    """Check the tag and decrypt; raises a `PKCS11Error` for a wrong one as for any trouble."""
    # A copy that is ours to lend: the module gets a pointer that it may write through.
    parameters = (
        _parameters(iv, aad)
        if len(iv) == IV_LENGTH
        else _raw_parameters(ctypes.create_string_buffer(iv, len(iv)), aad)
    )
    return bytes(
        key.cipher.decrypt(ciphertext, mechanism=Mechanism.AES_GCM, mechanism_param=parameters)
    )


def cbc_encrypt(key: KeyObjects, iv: bytes, plaintext: bytes) -> bytes:
    """AES-CBC of whole blocks."""
    return bytes(key.cipher.encrypt(plaintext, mechanism=Mechanism.AES_CBC, mechanism_param=iv))


def cbc_decrypt(key: KeyObjects, iv: bytes, ciphertext: bytes) -> bytes:
    """AES-CBC of whole blocks, the other way."""
    return bytes(key.cipher.decrypt(ciphertext, mechanism=Mechanism.AES_CBC, mechanism_param=iv))


def hmac_sha256(key: KeyObjects, data: bytes) -> bytes:
    """HMAC-SHA256, to be compared here: NSS 3.87 has no word for a wrong one in C_Verify."""
    return bytes(key.mac.sign(data, mechanism=Mechanism.SHA256_HMAC))


def secret(key: KeyObjects, profile: Profile) -> bytes:
    """32 bytes that only this key gives, always the same ones.

    With GCM zeros under an IV of zeros; a token that takes no IV gives the same by ECB, of which
    GCM makes its key stream.
    """
    if profile is Profile.CBC_HMAC:
        return hmac_sha256(key, b"evsd secret")
    if profile is Profile.GCM:
        sealed = gcm_encrypt(key, bytes(IV_LENGTH), b"evsd secret", bytes(SECRET_LENGTH))
        return sealed[:SECRET_LENGTH]
    counters = b"".join(bytes(IV_LENGTH) + number.to_bytes(4, "big") for number in (2, 3))
    return bytes(key.cipher.encrypt(counters, mechanism=Mechanism.AES_ECB))


def _parameters(iv: bytes, aad: bytes) -> GCMParams:
    # The module takes what it is given, an empty IV too.
    if len(iv) != IV_LENGTH:
        raise EnvelopeError("its IV has the wrong length")
    return GCMParams(iv, aad, TAG_LENGTH * 8)


def _raw_parameters(iv: Any, aad: bytes) -> bytes:
    """Bytes, which python-pkcs11 hands over as they are, pointing to `iv` and `aad`."""
    given = ctypes.sizeof(iv) if iv is not None else 0
    return bytes(
        _GcmParameters(
            ctypes.cast(iv, ctypes.c_void_p) if iv is not None else None,
            given,
            given * 8,
            ctypes.cast(ctypes.c_char_p(aad), ctypes.c_void_p),
            len(aad),
            TAG_LENGTH * 8,
        )
    )


# --- which of it a token can do -------------------------------------------------------------------

AAD, PLAINTEXT = b"encryption context", b"a data key of 32 bytes, or more."
ABILITIES = (
    Ability(Profile.GCM),
    Ability(Profile.GCM_HSM_IV, IV_LENGTH),
    Ability(Profile.GCM_HSM_IV),
    Ability(Profile.CBC_HMAC),
)


def best_ability(token: Any) -> Ability:
    """The first of `ABILITIES` that the token has; the caller is logged in to it.

    Raises `Lacking` where it has none, with the reason for each.
    """
    reasons: dict[str, str] = {}
    for ability in ABILITIES:
        try:
            with trial_session(token) as session:
                attempt(generate(session, "evsd/trial", ability.profile, store=False), ability)
        except (PKCS11Error, Lacking) as error:
            reasons.setdefault(ability.profile.words, in_words(error))
        else:
            return ability
    raise Lacking("; ".join(f"{what}: {reason}" for what, reason in reasons.items()))


@contextlib.contextmanager
def trial_session(token: Any) -> Iterator[Any]:
    """A session for one trial: in one whose AES-GCM failed NSS encrypts nothing any more."""
    session = token.open(rw=True)
    try:
        yield session
    finally:
        with contextlib.suppress(PKCS11Error):  # the trial says what is wrong
            session.close()


def attempt(key: KeyObjects, ability: Ability) -> None:
    """Use a key in a profile; raises a `PKCS11Error` or `Lacking` where that doesn't work."""
    if ability.profile is Profile.CBC_HMAC:
        _attempt_cbc_hmac(key)
    elif ability.profile is Profile.GCM_HSM_IV:
        _attempt_hsm_iv(key, ability.room)
    else:
        _attempt_our_iv(key)
    secret(key, ability.profile)


def _attempt_our_iv(key: KeyObjects) -> None:
    iv = bytes(range(IV_LENGTH))
    given = ctypes.create_string_buffer(iv, IV_LENGTH)
    parameters = _raw_parameters(given, AAD)
    sealed = bytes(
        key.cipher.encrypt(PLAINTEXT, mechanism=Mechanism.AES_GCM, mechanism_param=parameters)
    )
    if given.raw != iv or len(sealed) != len(PLAINTEXT) + TAG_LENGTH:
        raise Lacking("the token makes the IV itself")
    _attempt_decryption(key, iv, sealed)


def _attempt_hsm_iv(key: KeyObjects, room: int) -> None:
    first, second = (gcm_encrypt_hsm_iv(key, room, AAD, PLAINTEXT) for _ in range(2))
    if first[0] == second[0]:
        raise Lacking("the token makes the same IV again")
    _attempt_decryption(key, *first)


def _attempt_decryption(key: KeyObjects, iv: bytes, sealed: bytes) -> None:
    if gcm_decrypt(key, iv, AAD, sealed) != PLAINTEXT:
        raise Lacking("another plaintext comes back")
    for what, changed, aad in (
        ("ciphertext", bytes([sealed[0] ^ 1]) + sealed[1:], AAD),
        ("tag", sealed[:-1] + bytes([sealed[-1] ^ 1]), AAD),
        ("additional data", sealed, b"another context"),
    ):
        try:
            gcm_decrypt(key, iv, aad, changed)
        except PKCS11Error:
            continue
        raise Lacking(f"a changed {what} is accepted")


def _attempt_cbc_hmac(key: KeyObjects) -> None:
    iv = bytes(range(BLOCK))
    if cbc_decrypt(key, iv, cbc_encrypt(key, iv, PLAINTEXT)) != PLAINTEXT:
        raise Lacking("another plaintext comes back")
    mac = hmac_sha256(key, AAD)
    if len(mac) != MAC_LENGTH or hmac.compare_digest(mac, hmac_sha256(key, PLAINTEXT)):
        raise Lacking("what comes back is no HMAC-SHA256")


_WORDS: dict[type[Exception], str] = {
    MechanismInvalid: "the token does not have it",
}


def in_words(error: Exception) -> str:
    """A module's error, in words where it has any."""
    words = _WORDS.get(type(error), str(error))
    if isinstance(error, Lacking):
        return words
    return f"{words} ({type(error).__name__})" if words else type(error).__name__
