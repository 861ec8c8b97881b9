"""Trying a PKCS#11 module: what evsd needs of it, each thing really done on keys of one session.

Run as a process of its own (``python -m evsd.kms.module_check``), because a module may crash or
hang: one JSON line tells what is tried next, ``{"trying"}``, and one how it went,
``{"what", "needed", "trouble"}``, `trouble` being empty where it worked. Nothing is left on the
token. The PIN is read from standard input.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pkcs11
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pkcs11 import MGF, Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass, TokenFlag
from pkcs11.exceptions import PKCS11Error
from pkcs11.mechanisms import GCMParams

from evsd.kms.token import TokenSettings, find_token

IV, AAD, PLAINTEXT = bytes(range(12)), b"encryption context", b"a data key of 32 bytes, or more."
USES = MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT
FIXED = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}


class Lacking(Exception):
    """The module did something, but not what is needed; the message says what."""


class Trial:
    """The steps in order; each uses what the ones before it made."""

    def __init__(self, settings: TokenSettings, pin: str) -> None:
        self._settings, self._pin = settings, pin
        self._library: Any = None
        self._token: Any = None
        self._session: Any = None
        self._key: Any = None
        self._imported_value = os.urandom(32)

    def steps(self) -> Iterator[tuple[str, bool, Callable[[], None]]]:
        """What is tried, whether evsd can't do without it, and how."""
        yield "module loads", True, self._load
        yield "token is there", True, self._find
        yield "session for reading and writing, with login", True, self._log_in
        yield "AES-256 key generation", True, self._generate
        yield "keys that can't be extracted", True, self._extract
        yield "AES-GCM with 12-byte IV and additional data", True, self._round_trip
        yield "AES-GCM refuses what was changed", True, self._tamper
        yield "import of AES keys", True, self._import
        yield "AES-GCM as others do it", True, self._compare
        yield "key found by label", True, self._find_key
        yield "RSA-OAEP with SHA-256 for imported keys", False, self._unwrap

    def _load(self) -> None:
        self._library = pkcs11.lib(str(self._settings.module))

    def _find(self) -> None:
        self._token = find_token(self._library, self._settings)

    def _log_in(self) -> None:
        if self._token.flags & TokenFlag.LOGIN_REQUIRED and not self._pin:
            raise Lacking("the token wants a PIN: give --pin-file")
        self._session = self._token.open(rw=True, user_pin=self._pin or None)

    def _generate(self) -> None:
        self._key = self._session.generate_key(
            KeyType.AES,
            256,
            label="evsd/check",
            store=False,
            capabilities=USES,
            template=FIXED,
        )

    def _extract(self) -> None:
        if (self._key[Attribute.SENSITIVE], self._key[Attribute.EXTRACTABLE]) != (True, False):
            raise Lacking("the module made the key extractable all the same")
        try:
            _ = self._key[Attribute.VALUE]
        except PKCS11Error:
            return
        raise Lacking("the module gave the value of the key away")

    def _round_trip(self) -> None:
        if self._decrypt(self._encrypt(self._key)) != PLAINTEXT:
            raise Lacking("another plaintext comes back")

    def _tamper(self) -> None:
        sealed = self._encrypt(self._key)
        for what, changed, aad in (
            ("ciphertext", bytes([sealed[0] ^ 1]) + sealed[1:], AAD),
            ("tag", sealed[:-1] + bytes([sealed[-1] ^ 1]), AAD),
            ("additional data", sealed, b"another context"),
        ):
            try:
                self._decrypt(changed, aad)
            except PKCS11Error:
                continue
            raise Lacking(f"a changed {what} is accepted")

    def _import(self) -> None:
        self._imported = self._session.create_object(
            {
                Attribute.CLASS: ObjectClass.SECRET_KEY,
                Attribute.KEY_TYPE: KeyType.AES,
                Attribute.VALUE: self._imported_value,
                Attribute.LABEL: "evsd/imported",
                Attribute.TOKEN: False,
                Attribute.ENCRYPT: True,
                Attribute.DECRYPT: True,
                **FIXED,
            }
        )

    def _compare(self) -> None:
        expected = AESGCM(self._imported_value).encrypt(IV, PLAINTEXT, AAD)
        if self._encrypt(self._imported) != expected:
            raise Lacking("the ciphertext is not AES-256-GCM with a 128-bit tag behind it")

    def _find_key(self) -> None:
        self._session.get_key(object_class=ObjectClass.SECRET_KEY, label="evsd/check")

    def _unwrap(self) -> None:
        public, private = self._session.generate_keypair(
            KeyType.RSA,
            2048,
            store=False,
            capabilities=MechanismFlag.WRAP | MechanismFlag.UNWRAP,
        )
        numbers = rsa.RSAPublicNumbers(
            int.from_bytes(public[Attribute.PUBLIC_EXPONENT]),
            int.from_bytes(public[Attribute.MODULUS]),
        )
        sha256 = hashes.SHA256()
        wrapped = numbers.public_key().encrypt(
            self._imported_value, padding.OAEP(padding.MGF1(sha256), sha256, None)
        )
        unwrapped = private.unwrap_key(
            ObjectClass.SECRET_KEY,
            KeyType.AES,
            wrapped,
            mechanism=Mechanism.RSA_PKCS_OAEP,
            mechanism_param=(Mechanism.SHA256, MGF.SHA256, None),
            store=False,
            capabilities=USES,
            template=FIXED,
        )
        if self._encrypt(unwrapped) != self._encrypt(self._imported):
            raise Lacking("another key comes out")

    def _encrypt(self, key: Any) -> bytes:
        parameters = GCMParams(IV, AAD, 128)
        return bytes(
            key.encrypt(PLAINTEXT, mechanism=Mechanism.AES_GCM, mechanism_param=parameters)
        )

    def _decrypt(self, sealed: bytes, aad: bytes = AAD) -> bytes:
        parameters = GCMParams(IV, aad, 128)
        return bytes(
            self._key.decrypt(sealed, mechanism=Mechanism.AES_GCM, mechanism_param=parameters)
        )


def main() -> None:
    """Entry point of the child process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--module", type=Path, required=True)
    parser.add_argument("--token-label")
    parser.add_argument("--slot", type=int)
    options = parser.parse_args()
    settings = TokenSettings(options.module, options.token_label, Path(), slot=options.slot)
    trial = Trial(settings, sys.stdin.read().strip())
    stop_after = {"module loads", "token is there", "session for reading and writing, with login"}
    for what, needed, work in trial.steps():
        _say(trying=what)
        trouble = _attempt(work)
        _say(what=what, needed=needed, trouble=trouble)
        if trouble and what in stop_after:
            return


def _attempt(work: Callable[[], None]) -> str:
    try:
        work()
    except Lacking as error:
        return str(error)
    except PKCS11Error as error:
        return f"{type(error).__name__} {error}".rstrip()
    except (AttributeError, TypeError):
        return "not tried: what it builds on failed"
    return ""


def _say(**fields: object) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
