"""Passphrases of LUKS files, on their way from the user to cryptsetup and qemu-img."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from evsd.cli.errors import UsageProblem

LIMIT = 8 * 1024 * 1024  # cryptsetup's own, of key files


@contextmanager
def hidden(secret: bytes) -> Iterator[int]:
    """A descriptor of a file in memory with the secret: no argument, no environment, no disk."""
    descriptor = os.memfd_create("secret", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, secret)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


def passphrase(
    question: str, passphrase_file: Path | None, key_file: Path | None, *, twice: bool
) -> bytes:
    """What the user gives: a file's first line, a whole file, or an answer typed unseen."""
    if passphrase_file is not None and key_file is not None:
        raise UsageProblem("--passphrase-file and --key-file exclude each other")
    if key_file is not None:
        secret = _read(key_file)
    elif passphrase_file is not None:
        secret = _read(passphrase_file).split(b"\n", 1)[0]
    elif sys.stdin.isatty():
        typed = click.prompt(question, hide_input=True, confirmation_prompt=twice, err=True)
        secret = str(typed).encode()
    else:
        raise UsageProblem(f"{question}: give --passphrase-file or --key-file")
    if not secret:
        raise UsageProblem("the passphrase is empty")
    return secret


def passing() -> bytes:
    """A passphrase nobody is told, for the time a file is being made."""
    return secrets.token_hex(32).encode()


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LIMIT)
    except OSError as error:
        raise UsageProblem(f"{path}: {error.strerror}") from error
