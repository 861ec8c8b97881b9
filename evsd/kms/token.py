"""The PKCS#11 token: CMKs as non-extractable AES keys, AES-GCM under them.

All calls come from one thread of one process. python-pkcs11 0.10 initialises the module as
single-threaded yet releases the GIL: two threads crashed it in 6 of 6 runs and broke SoftHSM's
store for good; and processes that open one token at the same moment fail now and then.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass
from pkcs11.exceptions import NoSuchKey, PKCS11Error
from pkcs11.mechanisms import GCMParams

from evsd.durable import sync_changed
from evsd.errors import KmsUnavailable
from evsd.kms.crypto import IV_LENGTH, TAG_LENGTH, EnvelopeError
from evsd.resource import Resource

# Found on the token exactly when the token is the right one and whole: only then may a missing
# key be called missing, for a removed token looks the same as a destroyed key.
SENTINEL = "evsd/sentinel"


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """Which token, and how to log in to it."""

    module: Path
    label: str
    pin_file: Path
    files: Path | None = None  # of a token that keeps its objects in files and doesn't sync them


class Token(Resource):
    """An open, logged-in token. Raises `KmsUnavailable` for whatever the module can't do."""

    def __init__(self, settings: TokenSettings) -> None:
        self._files = settings.files
        pin = settings.pin_file.read_text().strip()
        try:
            library = pkcs11.lib(str(settings.module))
            token = library.get_token(token_label=settings.label)
            self._session: Any = token.open(rw=True, user_pin=pin)
        except (PKCS11Error, RuntimeError) as error:
            raise _unavailable(f"can't open token {settings.label!r}", error) from error
        self._handles: dict[str, Any] = {}

    def close(self) -> None:
        """Log out; every handle is gone with the session."""
        self._handles.clear()
        self._session.close()

    def generate(self, label: str) -> TokenKey:
        """Make an AES-256 key that can't leave the token; returns when it is there to stay.

        SoftHSM 2.6.1 only calls fflush: without a sync of our own a power cut would leave the
        record of a key whose object is gone, and every volume under it lost.
        """
        # File systems stamp files with the kernel's tick, up to 10 ms behind this clock.
        started = time.time_ns() - 1_000_000_000
        try:
            handle = self._session.generate_key(
                KeyType.AES,
                256,
                label=label,
                store=True,
                capabilities=MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT,
                template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
            )
        except PKCS11Error as error:
            raise _unavailable("can't generate a key", error) from error
        if self._files is not None:
            sync_changed(self._files, started)
        self._handles[label] = handle
        return TokenKey(handle)

    def destroy(self, label: str) -> None:
        """Destroy a key that nothing was encrypted under."""
        self._find(label).destroy()
        del self._handles[label]

    def ensure(self, label: str) -> TokenKey:
        """The key `label`, made now if the token doesn't have it."""
        try:
            return TokenKey(self._find(label))
        except NoSuchKey:
            return self.generate(label)

    def key(self, label: str) -> TokenKey:
        """The key `label`, which must be there."""
        try:
            return TokenKey(self._find(label))
        except NoSuchKey as error:
            raise _unavailable(f"the token has no key {label}", error) from error

    def _find(self, label: str) -> Any:
        # SoftHSM's look-up is linear (120 ms at 10,000 keys), so a handle is looked up once.
        if label not in self._handles:
            try:
                self._handles[label] = self._session.get_key(
                    object_class=ObjectClass.SECRET_KEY, label=label
                )
            except NoSuchKey:
                raise
            except PKCS11Error as error:
                raise _unavailable(f"can't look for key {label}", error) from error
        return self._handles[label]


class TokenKey:
    """A key on the token that does AES-256-GCM (`crypto.GcmKey`)."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def encrypt(self, iv: bytes, aad: bytes, plaintext: bytes) -> bytes:
        """Encrypt; the 16-byte tag follows the ciphertext."""
        try:
            return bytes(
                self._handle.encrypt(
                    plaintext, mechanism=Mechanism.AES_GCM, mechanism_param=_gcm(iv, aad)
                )
            )
        except PKCS11Error as error:
            raise _unavailable("the token can't encrypt", error) from error

    def decrypt(self, iv: bytes, aad: bytes, ciphertext: bytes) -> bytes:
        """Check the tag and decrypt.

        SoftHSM 2.6.1 answers GeneralError to a wrong tag and to its own trouble alike, so a
        failure is only blamed on the bytes once the token has shown that it still works.
        """
        try:
            return bytes(
                self._handle.decrypt(
                    ciphertext, mechanism=Mechanism.AES_GCM, mechanism_param=_gcm(iv, aad)
                )
            )
        except PKCS11Error as error:
            self.encrypt(bytes(IV_LENGTH), b"probe", b"")
            raise EnvelopeError(
                "key, encryption context or bytes are not the right ones"
            ) from error


def _gcm(iv: bytes, aad: bytes) -> GCMParams:
    # The module takes what it is given, an empty IV too.
    if len(iv) != IV_LENGTH:
        raise EnvelopeError("its IV has the wrong length")
    return GCMParams(iv, aad, TAG_LENGTH * 8)


def _unavailable(what: str, error: Exception) -> KmsUnavailable:
    return KmsUnavailable(reason=f"{what}: {type(error).__name__} {error}".rstrip())
