"""evsctl key create-datakey, encrypt-datakey, decrypt-datakey, encrypt, decrypt, random."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, TextIO, TypeVar

import click

from evsd.cli.errors import UsageProblem
from evsd.cli.output import Session, card, output_option, pass_session

F = TypeVar("F", bound=Callable[..., Any])
DATA_LIMIT = 4096


bits_option = click.option(
    "--bits", type=int, default=512, show_default=True, help="A multiple of 8 up to 8192."
)


def context_options(function: F) -> F:
    """What a ciphertext is bound to, in either of the published spellings."""
    function = click.option(
        "--context",
        "pairs",
        metavar="NAME=VALUE",
        multiple=True,
        help="Encryption context; must be the same when decrypting. May be repeated.",
    )(function)
    return click.option("--aad", metavar="TEXT", help="Bind to a text, not to a context.")(function)


@click.command("create-datakey")
@click.argument("reference", metavar="KEY")
@click.option(
    "--bits", type=int, default=512, show_default=True, help="A multiple of 8 up to 8192."
)
@click.option("--without-plaintext", is_flag=True, help="Give only the encrypted data key.")
@context_options
@output_option
@pass_session
def create_datakey(
    session: Session,
    reference: str,
    bits: int,
    without_plaintext: bool,
    pairs: Sequence[str],
    aad: str | None,
) -> None:
    """Make a data key, and encrypt it under a key."""
    answer = session.api.kms(
        "create-datakey-without-plaintext" if without_plaintext else "create-datakey",
        key_id=session.api.key_id(reference),
        datakey_length=str(bits),
        **_context(pairs, aad),
    )
    session.show(answer, lambda: card(answer))


@click.command("encrypt-datakey")
@click.argument("reference", metavar="KEY")
@click.argument("datakey", metavar="FILE", type=click.File("rb"))
@context_options
@output_option
@pass_session
def encrypt_datakey(
    session: Session, reference: str, datakey: BinaryIO, pairs: Sequence[str], aad: str | None
) -> None:
    """Encrypt the data key in FILE, raw bytes; "-" for standard input."""
    clear = datakey.read()
    answer = session.api.kms(
        "encrypt-datakey",
        key_id=session.api.key_id(reference),
        plain_text=(clear + hashlib.sha256(clear).digest()).hex(),
        datakey_plain_length=str(len(clear)),
        **_context(pairs, aad),
    )
    session.show(answer, lambda: str(answer["cipher_text"]))


@click.command("decrypt-datakey")
@click.argument("reference", metavar="KEY")
@click.argument("ciphertext", metavar="HEX")
@context_options
@output_option
@pass_session
def decrypt_datakey(
    session: Session, reference: str, ciphertext: str, pairs: Sequence[str], aad: str | None
) -> None:
    """Decrypt a data key; prints it as hex."""
    # The published request carries the clear key's length, which is that of the rest of the
    # envelope less 124 bytes (see evsd.key_process.envelope).
    length = max(1, len(ciphertext) // 2 - 124)
    answer = session.api.kms(
        "decrypt-datakey",
        key_id=session.api.key_id(reference),
        cipher_text=ciphertext,
        datakey_cipher_length=str(length),
        **_context(pairs, aad),
    )
    session.show(answer, lambda: str(answer["data_key"]))


@click.command()
@click.argument("reference", metavar="KEY")
@click.argument("data", metavar="FILE", type=click.File("rb"))
@context_options
@output_option
@pass_session
def encrypt(
    session: Session, reference: str, data: BinaryIO, pairs: Sequence[str], aad: str | None
) -> None:
    """Encrypt up to 4096 bytes of text from FILE, "-" for standard input; prints base64."""
    try:
        text = data.read(DATA_LIMIT + 1).decode()
    except UnicodeDecodeError as error:
        raise UsageProblem(f"{data.name} is not UTF-8 text; encrypt-datakey takes bytes") from error
    answer = session.api.kms(
        "encrypt-data",
        key_id=session.api.key_id(reference),
        plain_text=text,
        **_context(pairs, aad),
    )
    session.show(answer, lambda: str(answer["cipher_text"]))


@click.command()
@click.argument("ciphertext", metavar="FILE", type=click.File("r", encoding="ascii"))
@context_options
@output_option
@pass_session
def decrypt(session: Session, ciphertext: TextIO, pairs: Sequence[str], aad: str | None) -> None:
    """Decrypt what `encrypt` has printed; the ciphertext names its key."""
    answer = session.api.kms(
        "decrypt-data", cipher_text=ciphertext.read().strip(), **_context(pairs, aad)
    )
    if session.output == "json":
        session.show(answer, str)
    else:  # as it was: only a terminal needs a line's end
        click.echo(answer["plain_text"].encode(), nl=sys.stdout.isatty())


@click.command()
@click.option(
    "--bits", type=int, default=512, show_default=True, help="A multiple of 8 up to 8192."
)
@output_option
@pass_session
def random(session: Session, bits: int) -> None:
    """Print random bytes of the HSM, as hex."""
    answer = session.api.kms("gen-random", random_data_length=str(bits))
    session.show(answer, lambda: str(answer["random_data"]))


COMMANDS = (create_datakey, encrypt_datakey, decrypt_datakey, encrypt, decrypt, random)


def _context(pairs: Sequence[str], aad: str | None) -> dict[str, Any]:
    if aad is not None and pairs:
        raise click.UsageError("--context and --aad exclude each other")
    if aad is not None:
        return {"additional_authenticated_data": aad}
    if wrong := [pair for pair in pairs if "=" not in pair]:
        raise click.UsageError(f"--context {wrong[0]!r} is not NAME=VALUE")
    return {"encryption_context": dict(pair.split("=", 1) for pair in pairs)} if pairs else {}
