"""evsctl key import, delete-material."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import BinaryIO

import click
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from evsd.cli.client import Api
from evsd.cli.errors import Refused
from evsd.cli.interrupts import answered
from evsd.cli.keys.life import new_alias, show_key
from evsd.cli.output import Session, output_option, pass_session, yes_option

ALGORITHM = "RSAES_OAEP_SHA_256"
MATERIAL_LENGTH = 32


@click.command("import")
@click.argument("reference", metavar="KEY")
@click.argument("material", metavar="FILE", type=click.File("rb"))
@click.option(
    "--expires",
    metavar="DATE",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
    help="In UTC; the material is destroyed then, and can be imported again.",
)
@output_option
@pass_session
def import_key(
    session: Session, reference: str, material: BinaryIO, expires: datetime | None
) -> None:
    """Import key material of your own: the 32 bytes of FILE, "-" for standard input.

    KEY is a new alias, or a key that waits for its material. Keep FILE: if its material is deleted
    or expires, the same can be imported again, and nothing else can read what it encrypted.
    """
    clear = material.read(MATERIAL_LENGTH + 1)
    if len(clear) != MATERIAL_LENGTH:
        raise click.UsageError(f"{material.name} does not hold exactly {MATERIAL_LENGTH} bytes")
    api = session.api
    with answered():
        key_id = _external_key(api, reference)
        _import(api, key_id, clear, expires)
    show_key(session, key_id)


@click.command("delete-material")
@click.argument("reference", metavar="KEY")
@yes_option
@output_option
@pass_session
def delete_material(session: Session, reference: str) -> None:
    """Destroy a key's imported material now; only the same can be imported again."""
    key_id = session.api.key_id(reference)
    session.confirm(
        f"Nothing under key {reference} can be read until its material is imported again from "
        "your own copy. Destroy the KMS's copy?"
    )
    answer = session.api.kms("delete-imported-key-material", key_id=key_id)
    session.show(answer, lambda: f"key {reference} waits for its material")


COMMANDS = (import_key, delete_material)


def _external_key(api: Api, reference: str) -> str:
    """The id of the key to import into, made now if there is none."""
    try:
        return api.key_id(reference)
    except Refused as error:
        if error.code != "KMS.0207":
            raise
        made = api.kms("create-key", key_alias=new_alias(reference), origin="external")
        return str(made["key_info"]["key_id"])


def _import(api: Api, key_id: str, clear: bytes, expires: datetime | None) -> None:
    ready = api.kms("get-parameters-for-import", key_id=key_id, wrapping_algorithm=ALGORITHM)
    public = serialization.load_der_public_key(base64.b64decode(ready["public_key"]))
    assert isinstance(public, rsa.RSAPublicKey)  # noqa: S101 - as published
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    until = {}
    if expires is not None:
        until["expiration_time"] = int(expires.replace(tzinfo=UTC).timestamp())
    api.kms(
        "import-key-material",
        key_id=key_id,
        import_token=ready["import_token"],
        encrypted_key_material=base64.b64encode(public.encrypt(clear, oaep)).decode(),
        **until,
    )
