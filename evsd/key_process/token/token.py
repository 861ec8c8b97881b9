"""The PKCS#11 token: CMKs as non-extractable keys, found by label, and used in their profile.

All calls come from one thread of one process. python-pkcs11 0.10 initialises the module as
single-threaded yet releases the GIL: two threads crashed it in 6 of 6 runs and broke SoftHSM's
store for good; and processes that open one token at the same moment fail now and then.

A token may go away and come back: what fails ends the session, and the next use opens a new one.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pkcs11
from pkcs11 import Attribute, ObjectClass
from pkcs11.exceptions import NoSuchKey, NoSuchToken, PKCS11Error

from evsd.durable import sync, sync_changed
from evsd.errors import KeyStorageFailed, KeysUnavailable
from evsd.key_process.envelope import EnvelopeError, Profile
from evsd.key_process.token import free_space as token_room
from evsd.key_process.token import mechanisms
from evsd.key_process.token.files import files_of
from evsd.key_process.token.mechanisms import (
    Ability,
    KeyObjects,
    Lacking,
    cipher_label,
    in_words,
    mac_label,
)
from evsd.resource import Resource

# Found on the token exactly when the token is the right one and whole: only then may a missing
# key be called missing, for a removed token looks the same as a destroyed key.
SENTINEL = "evsd/sentinel"
# A token that can't be opened is not asked again at every call: to open it may take seconds.
REOPEN_PAUSE_S = 1.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """Which token, by label or by slot, and how to log in to it."""

    module: Path
    label: str | None
    pin_file: Path
    files: Path | None = None  # of the embedded one, which are synced here; see `token_files`
    slot: int | None = None

    @property
    def name(self) -> str:
        """The token in words."""
        return f"token {self.label!r}" if self.slot is None else f"the token in slot {self.slot}"


class Token(Resource):
    """A token, opened and logged in to when it is first used, and again after it was lost.

    `check` is called after each opening and raises `KeysUnavailable` for a token that is not to be
    used. Every method raises `KeysUnavailable` for whatever the module can't do.
    """

    def __init__(
        self, settings: TokenSettings, check: Callable[[Token], None] | None = None
    ) -> None:
        self._settings, self._check = settings, check
        self._library: Any = None
        self._opened: Any = None
        self._ability: Ability | None = None
        self._gcm_profile = Profile.GCM
        self._files = settings.files
        self._handles: dict[str, Any] = {}  # of objects, by their own labels
        self._keys: dict[str, KeyObjects] = {}
        self._opening = False
        self._failed: tuple[float, KeysUnavailable] | None = None  # the last opening: when and why

    def close(self) -> None:
        """Log out; every handle is gone with the session."""
        self._forget()
        if self._opened is not None:
            with contextlib.suppress(PKCS11Error):  # it may be away
                self._opened.close()
            self._opened = None

    def open(self) -> None:
        """Open it now, not at the first use."""
        _ = self._session

    @property
    def is_open(self) -> bool:
        """Whether there is a session; it may have ended without our knowing."""
        return self._opened is not None

    @property
    def ability(self) -> Ability:
        """What new keys are made for: the best that the token can do."""
        self.open()
        assert self._ability is not None  # noqa: S101 - found out when it was opened
        return self._ability

    def profile_of(self, label: str) -> Profile:
        """How a key encrypts: as it was made for, and with whose IV as the token wants it now."""
        self.key(label)
        if self._keys[label].mac is not None:
            return Profile.CBC_HMAC
        return self._gcm_profile

    def probe(self) -> None:
        """Find out whether keys can be used now; a token that has come back is opened."""
        self.key(SENTINEL).secret()

    def generate(self, label: str) -> TokenKey:
        """Make a key that can't leave the token; returns when it is there to stay.

        SoftHSM 2.6.1 only calls fflush: without a sync of our own a power cut would leave the
        record of a key whose object is gone, and every volume under it lost.
        """
        started, profile = self._begin_writing(), self.ability.profile
        # Not tried twice: of two objects with one label neither could be found any more.
        with self._session_for("can't generate a key") as session:
            self._keep(label, mechanisms.generate(session, label, profile, store=True))
        self._sync(started)
        return TokenKey(self, label)

    def import_key(self, label: str, material: bytes, profile: Profile) -> TokenKey:
        """Put a key on the token, from which it can't be read again; there to stay."""
        started = self._begin_writing()
        with self._session_for("can't import a key") as session:
            made = mechanisms.create(session, label, profile, material, store=True)
            self._keep(label, made)
        self._sync(started)
        return TokenKey(self, label)

    def destroy(self, label: str) -> None:
        """Destroy a key for good; one that isn't there is destroyed already.

        Its AES object first: a half of a key that a crash leaves is the other half, and no key.
        """
        started, found = _before_now(), False
        self._keys.pop(label, None)
        for name in (label, cipher_label(label, Profile.CBC_HMAC), mac_label(label)):
            try:
                handle = self._object(name)
            except NoSuchKey:
                continue
            with self._session_for(f"can't destroy key {label}"):
                handle.destroy()
            self._handles.pop(name, None)
            found = True
            if name == label:  # it has one object
                break
        if found:
            self._sync(started)

    def random(self, bits: int) -> bytes:
        """Random bytes of the token's own generator."""
        with self._session_for("can't generate random bytes") as session:
            return bytes(session.generate_random(bits))

    def ensure(self, label: str) -> TokenKey:
        """The key `label`, made now if the token doesn't have it."""
        return TokenKey(self, label) if self.has(label) else self._make_whole(label)

    def settle(self, label: str) -> TokenKey:
        """The key `label`, made or found, and surely on disk."""
        if not self.has(label):
            return self._make_whole(label)
        self._sync(0)
        return TokenKey(self, label)

    def _make_whole(self, label: str) -> TokenKey:
        if self.ability.profile is Profile.CBC_HMAC:
            self.destroy(label)  # the half that a crash left
        return self.generate(label)

    def key(self, label: str) -> TokenKey:
        """The key `label`, which must be there."""
        if self._opened is None or label not in self._keys:
            try:
                self._find(label)
            except NoSuchKey as error:
                raise _unavailable(f"the token has no key {label}", error) from error
        return TokenKey(self, label)

    def has(self, label: str) -> bool:
        """Whether the token has this key; says no only if it has its sentinel."""
        try:
            self._find(label)
        except NoSuchKey:
            return False
        return True

    def secret(self, label: str) -> bytes:
        """32 bytes that this token alone can give, by a key for this alone."""
        return self.ensure(label).secret()

    def use(self, label: str, work: Callable[[KeyObjects], T]) -> T:
        """Do `work` with the objects of a key: again on a new session if the old one has ended."""
        try:
            return self._use_once(label, work)
        except KeysUnavailable:
            # A session that is still open would answer the same again.
            if self.is_open or self._opening:
                raise
        return self._use_once(label, work)

    def _use_once(self, label: str, work: Callable[[KeyObjects], T]) -> T:
        try:
            with self._session_for(f"can't use key {label}"):
                return work(self._find(label))
        except NoSuchKey as error:
            raise _unavailable(f"the token has no key {label}", error) from error

    def _begin_writing(self) -> int:
        """A moment for `_sync`; refuses where the token's files can't grow."""
        if self._files is not None:
            token_room.require_room(self._files)
        return _before_now()

    def _sync(self, started: int) -> None:
        if self._files is None:
            return
        try:
            sync_changed(self._files, started)
        except OSError as error:
            raise _unavailable("can't make sure that a key is there to stay", error) from error

    # --- the session ---------------------------------------------------------------------------

    @property
    def _session(self) -> Any:
        if self._opened is None:
            self._open()
        return self._opened

    @contextmanager
    def _session_for(self, what: str) -> Iterator[Any]:
        """The session, for a call of the module; if that fails, the next call opens a new one."""
        session = self._session
        try:
            yield session
        except NoSuchKey:
            raise
        except (PKCS11Error, Lacking) as error:
            self._lose()
            raise _unavailable(what, error) from error

    def _lose(self) -> None:
        # Nothing is closed: that would be one more call of a module in trouble. To initialise it
        # anew ends all its sessions.
        self._forget()
        self._opened = None

    def _forget(self) -> None:
        self._handles.clear()
        self._keys.clear()

    def _open(self) -> None:
        if self._failed is not None and time.monotonic() < self._failed[0] + REOPEN_PAUSE_S:
            raise self._failed[1].with_traceback(None)
        if self._opening:
            raise KeysUnavailable(reason=f"{self._settings.name} has gone away")
        self._opening = True
        try:
            self._log_in()
            if self._files is not None:
                self._read_all_handles()
            if self._check is not None:
                self._check(self)
        except KeyStorageFailed:
            self._lose()  # the module was not asked: whoever makes room need not wait for a pause
            raise
        except KeysUnavailable as error:
            self._lose()
            self._failed = (time.monotonic(), error)
            raise
        finally:
            self._opening = False
        self._failed = None

    def _log_in(self) -> None:
        settings = self._settings
        if settings.files is not None:
            token_room.prepare_login(settings.files)
        try:
            pin = settings.pin_file.read_text().strip()
            if self._library is None:
                self._library = pkcs11.lib(str(settings.module))
            else:  # SoftHSM, and others, see a token that was away only then
                self._library.reinitialize()
            token = find_token(self._library, settings)
            if settings.files is None:
                self._find_files(token)
            self._opened = token.open(rw=True, user_pin=pin)
            self._ability = mechanisms.best_ability(token)
            hsm_iv = self._ability.profile is Profile.GCM_HSM_IV
            self._gcm_profile = Profile.GCM_HSM_IV if hsm_iv else Profile.GCM
        except (PKCS11Error, OSError) as error:
            raise _unavailable(f"can't open {settings.name}", error) from error
        except Lacking as error:
            raise KeysUnavailable(
                reason=f"{settings.name} can encrypt in no way that evsd knows, see "
                f"evsctl hsm check: {error}"
            ) from error

    def _find_files(self, token: Any) -> None:
        known, self._files = self._files, files_of(token)
        if self._files is not None and known is None:
            # Whoever made the token, or keys on it, may not have.
            sync_changed(self._files, 0)
            sync(self._files.parent)

    def _looking_for(self, label: str) -> contextlib.AbstractContextManager[Any]:
        return self._session_for(f"can't look for key {label}")

    def _read_all_handles(self) -> None:
        # SoftHSM's look-up is linear, 120 ms at 10,000 keys, as long as two hundred reads of one's
        # label: without this the first use of each key would cost it. A network HSM has an index,
        # and would rather not be asked ten thousand times.
        with self._session_for("can't list the keys") as session:
            for handle in session.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY}):
                self._handles[handle.label] = handle

    def _keep(self, label: str, made: KeyObjects) -> None:
        self._keys[label] = made
        if made.mac is None:
            self._handles[label] = made.cipher
        else:
            self._handles[cipher_label(label, Profile.CBC_HMAC)] = made.cipher
            self._handles[mac_label(label)] = made.mac

    def _find(self, label: str) -> KeyObjects:
        """The objects of a key; raises `NoSuchKey` only if the token has its sentinel."""
        session = self._session
        if label not in self._keys:
            self._keys[label] = self._look_for(session, label)
        return self._keys[label]

    def _look_for(self, session: Any, label: str) -> KeyObjects:
        by_cbc = cipher_label(label, Profile.CBC_HMAC)
        for name in (label, by_cbc):
            if name not in self._handles:
                with contextlib.suppress(NoSuchKey), self._looking_for(label):
                    self._handles[name] = _look_up(session, name)
            if name in self._handles:
                mac = self._object(mac_label(label)) if name == by_cbc else None
                return KeyObjects(self._handles[name], mac)
        if self._check is not None and label != SENTINEL:
            self._require_sentinel()
        raise NoSuchKey(label)

    def _object(self, name: str) -> Any:
        session = self._session
        if name not in self._handles:
            with self._looking_for(name):
                self._handles[name] = _look_up(session, name)
        return self._handles[name]

    def _require_sentinel(self) -> None:
        """A key is missing: is it, or has the token gone away?"""
        try:
            self._find(SENTINEL)
        except NoSuchKey as error:
            self._lose()
            raise _unavailable(f"{self._settings.name} has gone away", error) from error


class TokenKey:
    """A key on the token (`crypto.WrappingKey`)."""

    def __init__(self, token: Token, label: str) -> None:
        self._token, self._label = token, label

    @property
    def profile(self) -> Profile:
        """How it encrypts now."""
        return self._token.profile_of(self._label)

    def gcm_encrypt(self, iv: bytes, aad: bytes, plaintext: bytes) -> bytes:
        """Encrypt; the 16-byte tag follows the ciphertext."""
        return self._token.use(
            self._label, lambda key: mechanisms.gcm_encrypt(key, iv, aad, plaintext)
        )

    def gcm_encrypt_hsm_iv(self, aad: bytes, plaintext: bytes) -> tuple[bytes, bytes]:
        """Encrypt with an IV that the token makes and that comes first."""
        room = self._token.ability.room
        return self._token.use(
            self._label, lambda key: mechanisms.gcm_encrypt_hsm_iv(key, room, aad, plaintext)
        )

    def gcm_decrypt(self, iv: bytes, aad: bytes, ciphertext: bytes) -> bytes:
        """Check the tag and decrypt.

        SoftHSM 2.6.1 answers GeneralError to a wrong tag and to its own trouble alike, so a
        failure is only blamed on the bytes once the token has shown that it still works.
        """

        def work(key: KeyObjects) -> bytes:
            try:
                return mechanisms.gcm_decrypt(key, iv, aad, ciphertext)
            except PKCS11Error as error:
                mechanisms.secret(key, self.profile)
                raise EnvelopeError(
                    "key, encryption context or bytes are not the right ones"
                ) from error

        return self._token.use(self._label, work)

    def cbc_encrypt(self, iv: bytes, plaintext: bytes) -> bytes:
        """Encrypt whole blocks."""
        return self._token.use(self._label, lambda key: mechanisms.cbc_encrypt(key, iv, plaintext))

    def cbc_decrypt(self, iv: bytes, ciphertext: bytes) -> bytes:
        """Decrypt whole blocks, whose MAC was right: where that fails, the token is in trouble."""
        return self._token.use(self._label, lambda key: mechanisms.cbc_decrypt(key, iv, ciphertext))

    def mac(self, data: bytes) -> bytes:
        """HMAC-SHA256."""
        return self._token.use(self._label, lambda key: mechanisms.hmac_sha256(key, data))

    def secret(self) -> bytes:
        """32 bytes that this key alone gives."""
        return self._token.use(self._label, lambda key: mechanisms.secret(key, self.profile))


def find_token(library: Any, settings: TokenSettings) -> Any:
    """The token in an initialised module; raises python-pkcs11's errors."""
    if settings.slot is None:
        return library.get_token(token_label=settings.label)
    for slot in library.get_slots(token_present=True):
        if slot.slot_id == settings.slot:
            return slot.get_token()
    raise NoSuchToken(f"slot {settings.slot} is empty or does not exist")


def _look_up(session: Any, label: str) -> Any:
    return session.get_key(object_class=ObjectClass.SECRET_KEY, label=label)


def _before_now() -> int:
    """A moment surely before any file written from now on.

    File systems stamp files with the kernel's tick, up to 10 ms behind this clock.
    """
    return time.time_ns() - 1_000_000_000


def _unavailable(what: str, error: Exception) -> KeysUnavailable:
    return KeysUnavailable(reason=f"{what}: {in_words(error)}")
