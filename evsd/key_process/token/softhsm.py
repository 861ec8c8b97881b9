"""The embedded default: a SoftHSM2 token in the state directory, made at first start."""

from __future__ import annotations

import os
import secrets
import subprocess
from dataclasses import replace
from pathlib import Path

import pkcs11

from evsd.durable import sync, sync_changed
from evsd.errors import KeysUnavailable
from evsd.key_process.token.token import SENTINEL, Token, TokenSettings

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
LABEL = "evsd"


def prepare(directory: Path, *, may_initialise: bool = True) -> TokenSettings:
    """Point this process at the token in `directory`; make the token where there is none yet.

    A crash half-way leaves no file `pin`, and the next start begins anew with an empty folder:
    nothing can have been encrypted under a token without that file. Where keys are known already
    (`may_initialise` false) a missing token is never replaced: raises `KeysUnavailable`.
    """
    config, tokens, pin_file = directory / "softhsm2.conf", directory / "tokens", directory / "pin"
    directory.mkdir(mode=0o700, exist_ok=True)
    wanted = (
        f"directories.tokendir = {tokens}\nobjectstore.backend = file\n"
        "objectstore.umask = 0077\nlog.level = ERROR\nslots.removable = false\n"
    )
    if not config.exists() or config.read_text() != wanted:  # to write it takes room
        config.write_text(wanted)
    os.environ["SOFTHSM2_CONF"] = str(config)
    settings = TokenSettings(MODULE, LABEL, pin_file, tokens)
    if not pin_file.exists():
        if not may_initialise:
            raise KeysUnavailable(reason=f"{pin_file} is gone; restore it from a backup")
        _initialise(tokens, settings)
    return settings


def _initialise(tokens: Path, settings: TokenSettings) -> None:
    if tokens.exists():
        tokens.rename(tokens.with_name(f"tokens.unfinished-{secrets.token_hex(4)}"))
    tokens.mkdir(mode=0o700)
    # softhsm2-util takes PINs from its arguments, which every user can read, so it gets
    # temporary ones: the real ones are set through PKCS#11 before the token holds anything.
    temporary, pin = secrets.token_hex(16), secrets.token_hex(16)
    subprocess.run(  # noqa: S603
        [
            "/usr/bin/softhsm2-util",
            "--init-token",
            "--free",
            f"--label={settings.label}",
            f"--so-pin={temporary}",
            f"--pin={temporary}",
        ],
        check=True,
        capture_output=True,
    )
    _change_pins(settings, temporary, pin)
    unfinished = settings.pin_file.with_suffix(".new")
    with os.fdopen(os.open(unfinished, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
        file.write(pin + "\n")
        file.flush()
        os.fsync(file.fileno())
    with Token(replace(settings, pin_file=unfinished)) as token:
        token.generate(SENTINEL)
    sync_changed(tokens, 0)
    unfinished.rename(settings.pin_file)
    sync(settings.pin_file.parent)


def _change_pins(settings: TokenSettings, temporary: str, pin: str) -> None:
    token = pkcs11.lib(str(settings.module)).get_token(token_label=settings.label)
    with token.open(rw=True, user_pin=temporary) as session:
        session.set_pin(temporary, pin)
    # The security officer's PIN could only set a new user PIN; nobody needs it, so nobody has it.
    with token.open(rw=True, so_pin=temporary) as session:
        session.set_pin(temporary, secrets.token_hex(16))
