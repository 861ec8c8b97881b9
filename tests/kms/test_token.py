"""The PKCS#11 token, on a real SoftHSM2."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pkcs11
import pytest
from pkcs11 import Attribute, ObjectClass

from evsd.errors import KeysUnavailable
from evsd.key_process.envelope import EnvelopeError
from evsd.key_process.token import softhsm
from evsd.key_process.token.token import SENTINEL, Token, TokenSettings

IV = bytes(range(12))


@pytest.fixture(scope="module")
def settings() -> Iterator[TokenSettings]:
    # One for the whole process: SoftHSM reads its configuration once, when it is loaded.
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        yield softhsm.prepare(Path(directory) / "token")


@pytest.fixture
def token(settings: TokenSettings) -> Iterator[Token]:
    with Token(settings) as opened:
        yield opened


def test_a_key_encrypts_and_decrypts(token: Token) -> None:
    key = token.generate("cmk/round-trip")
    assert key.gcm_decrypt(IV, b"aad", key.gcm_encrypt(IV, b"aad", b"secret")) == b"secret"


def test_a_key_is_found_again_after_the_token_is_opened_anew(settings: TokenSettings) -> None:
    with Token(settings) as first:
        ciphertext = first.generate("cmk/again").gcm_encrypt(IV, b"", b"secret")
    with Token(settings) as second:
        assert second.key("cmk/again").gcm_decrypt(IV, b"", ciphertext) == b"secret"


def test_a_key_can_not_be_extracted(settings: TokenSettings) -> None:
    with Token(settings) as token:
        token.generate("cmk/fixed")
    opened = pkcs11.lib(str(settings.module)).get_token(token_label=settings.label)
    with opened.open(user_pin=settings.pin_file.read_text().strip()) as session:
        key = session.get_key(object_class=ObjectClass.SECRET_KEY, label="cmk/fixed")
        assert (key[Attribute.SENSITIVE], key[Attribute.EXTRACTABLE]) == (True, False)
        with pytest.raises(pkcs11.exceptions.AttributeSensitive):
            key[Attribute.VALUE]


@pytest.mark.parametrize("damage", ["ciphertext", "tag", "aad"])
def test_what_was_changed_is_refused_as_changed(token: Token, damage: str) -> None:
    key = token.ensure("cmk/changed")
    sealed = bytearray(key.gcm_encrypt(IV, b"aad", b"secret"))
    if damage != "aad":
        sealed[0 if damage == "ciphertext" else -1] ^= 1
    with pytest.raises(EnvelopeError):
        key.gcm_decrypt(IV, b"other" if damage == "aad" else b"aad", bytes(sealed))


@pytest.mark.parametrize("length", [0, 8, 11])
def test_an_iv_of_another_length_is_refused(token: Token, length: int) -> None:
    with pytest.raises(EnvelopeError):
        token.key(SENTINEL).gcm_encrypt(bytes(length), b"", b"secret")


def test_a_missing_key_is_unavailable_not_destroyed(token: Token) -> None:
    with pytest.raises(KeysUnavailable, match="no key cmk/missing"):
        token.key("cmk/missing")


def test_a_wrong_pin_is_refused(settings: TokenSettings, tmp_path: Path) -> None:
    wrong = tmp_path / "pin"
    wrong.write_text("0000")
    with pytest.raises(KeysUnavailable):
        Token(TokenSettings(settings.module, settings.label, wrong)).open()


def test_pin_and_token_are_readable_by_the_owner_only(settings: TokenSettings) -> None:
    directory = settings.pin_file.parent
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in directory.rglob("*")}
    private = {p: m for p, m in modes.items() if p.name == "pin" or "tokens" in p.parts}
    assert private
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert all(mode & 0o077 == 0 for mode in private.values()), private


def test_a_missing_pin_never_replaces_a_token_that_has_keys(tmp_path: Path) -> None:
    with pytest.raises(KeysUnavailable, match="restore it from a backup"):
        softhsm.prepare(tmp_path / "token", may_initialise=False)
    assert not (tmp_path / "token" / "tokens").exists()


def test_a_new_key_is_on_disk_before_it_is_used(settings: TokenSettings) -> None:
    # SoftHSM itself syncs nothing: the calls that are counted are ours.
    program = (
        "import os; from pathlib import Path; from evsd.key_process.token.token import *;"
        f"os.environ['SOFTHSM2_CONF'] = {str(settings.pin_file.parent / 'softhsm2.conf')!r};"
        f"Token({settings!r}).generate('cmk/durable')"
    )
    program = f"from pathlib import PosixPath; {program}"
    traced = subprocess.run(
        ["strace", "-f", "-y", "-e", "trace=fsync", sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
    )
    synced = [line for line in traced.stderr.splitlines() if "fsync(" in line]
    assert any(".object>" in line for line in synced), traced.stderr
    assert any("tokens/" in line and ".object" not in line for line in synced), traced.stderr


def test_an_interrupted_initialisation_is_begun_anew(tmp_path: Path) -> None:
    # In a process of its own, see `settings`.
    (tmp_path / "token" / "tokens" / "half").mkdir(parents=True)
    program = (
        "from pathlib import Path; from evsd.key_process.token import softhsm;"
        "from evsd.key_process.token.token import *;"
        f"Token(softhsm.prepare(Path({str(tmp_path / 'token')!r}))).key(SENTINEL)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ})
