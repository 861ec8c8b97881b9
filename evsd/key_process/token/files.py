"""Tokens in files that their modules never sync: which they are, and where their files are.

SoftHSM 2.6.1 and openCryptoki 3.8.1's soft token only write; evsd-keys syncs for them, whether it
loads them itself or by way of p11-kit, which hides the module but not the token.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from evsd.errors import KeysUnavailable

SOFTHSM, SOFT_TOKEN = "SoftHSM project", "IBM SoftTok"
OPENCRYPTOKI = Path("/var/lib/opencryptoki")


def files_of(token: Any) -> Path | None:
    """The directory whose changes have to be synced; None for a token that sees to it itself.

    Raises `KeysUnavailable` where that can't be done: a power cut would take the newest keys, and
    nobody would notice before.
    """
    if token.manufacturer_id == SOFTHSM:
        return _softhsm_files(_hex(token.serial))
    if token.model == SOFT_TOKEN:
        return _readable(OPENCRYPTOKI, "openCryptoki's soft token")
    return None


def _softhsm_files(serial: str) -> Path:
    config, directory = _softhsm_config(), Path()
    try:
        for line in config.read_text().splitlines():
            name, _, value = line.partition("=")
            if name.strip() == "directories.tokendir":
                directory = Path(value.strip())
        found = [path for path in directory.iterdir() if _serial(path) == serial]
    except OSError as error:
        raise _unsafe("SoftHSM", str(error)) from error
    if not found:
        raise _unsafe("SoftHSM", f"{directory}, which {config} names, has no token {serial}")
    return _readable(found[0], "SoftHSM")


def _softhsm_config() -> Path:
    """Where SoftHSM looks for it."""
    if "SOFTHSM2_CONF" in os.environ:
        return Path(os.environ["SOFTHSM2_CONF"])
    own = Path("~/.config/softhsm2/softhsm2.conf").expanduser()
    return own if os.access(own, os.R_OK) else Path("/etc/softhsm/softhsm2.conf")


def _serial(directory: Path) -> str:
    """The serial number of the token whose directory is named so: the UUID's second half."""
    return directory.name.replace("-", "")[16:]


def _hex(serial: Any) -> str:
    return (serial.decode() if isinstance(serial, bytes) else str(serial)).strip()


def _readable(directory: Path, what: str) -> Path:
    # A directory is synced by who may read it, and a file too.
    if not os.access(directory, os.R_OK | os.X_OK):
        raise _unsafe(what, f"{directory} can't be read")
    return directory


def _unsafe(what: str, reason: str) -> KeysUnavailable:
    return KeysUnavailable(
        reason=f"{what} never syncs its files, so a power cut would take its newest keys; "
        f"evsd can't sync them either: {reason}"
    )
