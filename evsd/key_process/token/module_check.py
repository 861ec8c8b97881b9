"""Trying a PKCS#11 module: what evsd needs of it, each thing really done on keys of one session.

Run as a process of its own (``python -m evsd.key_process.token.module_check``), because a module
may crash or hang: one JSON line tells what is tried next, ``{"trying"}``, and one how it went,
``{"what", "needed", "trouble"}``, `trouble` being empty where it worked; the last is
``{"profile", "way"}``, how evsd would encrypt. They have a descriptor of their own, since modules
print. Nothing is left on the token. The PIN is read from standard input.
"""

from __future__ import annotations

import argparse
import hmac
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import pkcs11
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pkcs11 import MGF, Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass, TokenFlag
from pkcs11.exceptions import PKCS11Error

from evsd.errors import KeysUnavailable
from evsd.key_process.envelope import BLOCK, IV_LENGTH, Profile, material_keys
from evsd.key_process.token import mechanisms
from evsd.key_process.token.files import files_of
from evsd.key_process.token.mechanisms import (
    AAD,
    ABILITIES,
    FIXED,
    PLAINTEXT,
    Ability,
    KeyObjects,
    Lacking,
    in_words,
)
from evsd.key_process.token.token import TokenSettings, find_token

LABEL = "evsd/check"


class Trial:
    """The steps in order; each uses what the ones before it made."""

    def __init__(self, settings: TokenSettings, pin: str) -> None:
        self._settings, self._pin = settings, pin
        self._library: Any = None
        self._token: Any = None
        self._session: Any = None
        self._key: Any = None
        self._imported_value = os.urandom(32)
        self.ability: Ability | None = None

    def steps(self) -> Iterator[tuple[str, bool, Callable[[], None]]]:
        """What is tried, whether evsd can't do without it, and how."""
        yield "module loads", True, self._load
        yield "token is there", True, self._find
        yield "session for reading and writing, with login", True, self._log_in
        yield "AES-256 key generation", True, self._generate
        yield "keys that can't be extracted", True, self._extract
        yield "key found by label", True, self._find_key
        yield "import of AES keys", True, self._import
        for ability in ABILITIES:
            if self.ability is None:
                yield _name(ability), False, lambda tried=ability: self._encrypt(tried)  # type: ignore[misc]
        yield "one of these ways to encrypt", True, self._choose
        yield "keys survive a power cut", True, self._find_files
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
        if Mechanism.AES_KEY_GEN not in self._token.slot.get_mechanisms():
            raise Lacking(
                "the token can't make AES keys (CKM_AES_KEY_GEN), and evsd's must never have been "
                "anywhere else"
            )
        self._key = mechanisms.generate(self._session, LABEL, Profile.GCM, store=False).cipher

    def _extract(self) -> None:
        if (self._key[Attribute.SENSITIVE], self._key[Attribute.EXTRACTABLE]) != (True, False):
            raise Lacking("the module made the key extractable all the same")
        try:
            _ = self._key[Attribute.VALUE]
        except PKCS11Error:
            return
        raise Lacking("the module gave the value of the key away")

    def _find_key(self) -> None:
        if self._key is None:
            raise TypeError
        self._session.get_key(object_class=ObjectClass.SECRET_KEY, label=LABEL)

    def _import(self) -> None:
        self._create(self._session, Profile.GCM)

    def _encrypt(self, ability: Ability) -> None:
        with mechanisms.trial_session(self._token) as session:
            made = mechanisms.generate(session, LABEL, ability.profile, store=False)
            mechanisms.attempt(made, ability)
            self._compare(self._create(session, ability.profile), ability)
        self.ability = ability

    def _create(self, session: Any, profile: Profile) -> KeyObjects:
        value = self._imported_value
        return mechanisms.create(session, "evsd/imported", profile, value, store=False)

    def _compare(self, key: KeyObjects, ability: Ability) -> None:
        """With what others make of the same key."""
        value, iv = self._imported_value, bytes(range(IV_LENGTH))
        if ability.profile is Profile.CBC_HMAC:
            for_cipher, for_mac = material_keys(value)
            encryptor = Cipher(algorithms.AES(for_cipher), modes.CBC(bytes(BLOCK))).encryptor()
            same = mechanisms.cbc_encrypt(key, bytes(BLOCK), PLAINTEXT) == encryptor.update(
                PLAINTEXT
            ) and mechanisms.hmac_sha256(key, AAD) == hmac.digest(for_mac, AAD, "sha256")
        elif ability.profile is Profile.GCM:
            expected = AESGCM(value).encrypt(iv, PLAINTEXT, AAD)
            same = mechanisms.gcm_encrypt(key, iv, AAD, PLAINTEXT) == expected
        else:
            made, sealed = mechanisms.gcm_encrypt_hsm_iv(key, ability.room, AAD, PLAINTEXT)
            same = sealed == AESGCM(value).encrypt(made, PLAINTEXT, AAD)
        if not same:
            raise Lacking(f"what comes out is not {ability.profile.words} as others do it")

    def _choose(self) -> None:
        if self.ability is None:
            raise Lacking("evsd can't encrypt with this token")

    def _find_files(self) -> None:
        try:
            files_of(self._token)
        except KeysUnavailable as error:
            raise Lacking(error.message) from error

    def _unwrap(self) -> None:
        if self.ability is None:
            raise TypeError
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
            capabilities=MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT,
            template=FIXED,
        )
        expected = Cipher(algorithms.AES(self._imported_value), modes.ECB()).encryptor()  # noqa: S305 - one block
        if bytes(unwrapped.encrypt(bytes(BLOCK), mechanism=Mechanism.AES_ECB)) != expected.update(
            bytes(BLOCK)
        ):
            raise Lacking("another key comes out")


def _name(ability: Ability) -> str:
    where = {0: ", behind the tag", IV_LENGTH: ", in its buffer"}
    return ability.profile.words + (
        where[ability.room] if ability.profile is Profile.GCM_HSM_IV else ""
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
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        _try_all(trial, answers)


def _try_all(trial: Trial, answers: TextIO) -> None:
    stop_after = {"module loads", "token is there", "session for reading and writing, with login"}
    for what, needed, work in trial.steps():
        _say(answers, trying=what)
        trouble = _attempt(work)
        _say(answers, what=what, needed=needed, trouble=trouble)
        if trouble and what in stop_after:
            return
    if trial.ability is not None:
        profile = trial.ability.profile
        _say(answers, profile=profile, way=profile.words)


def _attempt(work: Callable[[], None]) -> str:
    try:
        work()
    except (Lacking, PKCS11Error) as error:
        return in_words(error)
    except (AttributeError, TypeError):
        return "not tried: what it builds on failed"
    return ""


def _say(answers: TextIO, **fields: object) -> None:
    answers.write(json.dumps(fields) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
