"""Passphrases of LUKS files, as the user gives them."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from evsd.cli.errors import UsageProblem

LIMIT = 8 * 1024 * 1024  # cryptsetup's own, of key files

passphrase_option = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path),
    help="A LUKS passphrase: the first line of this file. Else it is asked for.",
)
key_file_option = click.option(
    "--key-file",
    type=click.Path(path_type=Path),
    help="A LUKS key: all of this file, as cryptsetup's --key-file.",
)


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


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LIMIT)
    except OSError as error:
        raise UsageProblem(f"{path}: {error.strerror}") from error
