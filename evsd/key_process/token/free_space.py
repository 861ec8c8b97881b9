"""The files of a SoftHSM token on a filesystem that may be full.

SoftHSM 2.6.1 truncates a file before it writes it anew, and at every login it writes
`token.object`, which all keys are locked with: on a full filesystem an empty file was left, and a
token that nothing could open any more. So nothing is asked of it that writes where there is no
room, and a copy of that file is kept, `token.saved`, from which it is put back.
"""

from __future__ import annotations

import os
from pathlib import Path

import structlog

from evsd.durable import sync
from evsd.errors import KeyStorageFailed, KeysUnavailable, storage_error
from evsd.space import refusal

OBJECT, SAVED = "token.object", "token.saved"

log = structlog.get_logger()


def require_room(tokens: Path) -> None:
    """Refuse, with `KeyStorageFailed`, what makes SoftHSM write where it can't."""
    error = refusal(tokens)
    if error is not None:
        named = storage_error("the token's directory", tokens, error)
        raise KeyStorageFailed(reason=named.message)


def prepare_login(tokens: Path) -> None:
    """See to it that a login can do no harm; raises `KeysUnavailable` where that can't be had."""
    require_room(tokens)
    try:
        for token in tokens.iterdir():
            _save_or_put_back(token / OBJECT, token / SAVED)
    except OSError as error:
        raise KeysUnavailable(reason=f"the token's files can't be kept safe: {error}") from error


def _save_or_put_back(used: Path, saved: Path) -> None:
    now = used.read_bytes() if used.exists() else b""
    kept = saved.read_bytes() if saved.exists() else b""
    if kept and not now:
        log.error("the token was damaged, as by a full filesystem: it is put back", file=str(used))
        _write(used, kept)
    elif now != kept:
        _write(saved, now)


def _write(path: Path, content: bytes) -> None:
    """Whole and on disk, or not at all."""
    new = path.with_suffix(".new")
    with os.fdopen(os.open(new, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
    sync(path.parent)
