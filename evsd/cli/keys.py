"""evsctl key: the CMKs of the project."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from evsd.cli.output import Session, card, output_option, pass_session, table, yes_option

STATES = {
    "1": "waiting",
    "2": "enabled",
    "3": "disabled",
    "4": "pending deletion",
    "5": "pending import",
}


@click.group()
def key() -> None:
    """Customer master keys; KEY is an id or an alias."""


@key.command()
@click.argument("alias")
@click.option("--description", default="", help="Up to 255 characters.")
@output_option
@pass_session
def create(session: Session, alias: str, description: str) -> None:
    """Create a key in the HSM."""
    made = session.api.kms("create-key", key_alias=alias, key_description=description)
    _show(session, made["key_info"]["key_id"])


@key.command("list")
@output_option
@pass_session
def list_keys(session: Session) -> None:
    """List the keys of the project."""
    if session.output == "json":
        session.show(session.api.kms("list-keys", limit="1000", key_spec="ALL"), str)
        return
    columns = ["alias", "state", "kind", "id"]
    click.echo(
        table(map(_row, session.api.list_keys()), columns, "no keys; evsctl key create makes one")
    )


@key.command()
@click.argument("reference", metavar="KEY")
@output_option
@pass_session
def show(session: Session, reference: str) -> None:
    """Show one key."""
    _show(session, session.api.key_id(reference))


@key.command()
@click.argument("reference", metavar="KEY")
@output_option
@pass_session
def enable(session: Session, reference: str) -> None:
    """Let a disabled key be used again."""
    answer = session.api.kms("enable-key", key_id=session.api.key_id(reference))
    session.show(answer, lambda: f"key {reference} is enabled")


@key.command()
@click.argument("reference", metavar="KEY")
@yes_option
@output_option
@pass_session
def disable(session: Session, reference: str) -> None:
    """Stop all use of a key, until it is enabled.

    Volumes under it that are attached go on; once detached they can't be attached again.
    """
    key_id = session.api.key_id(reference)
    affected = [
        f"{volume['name']} ({volume['status']})"
        for volume in session.api.volumes()["volumes"]
        if volume["metadata"]["__system__cmkid"] == key_id
    ]
    if affected:
        click.echo(f"Volumes under key {reference}: {', '.join(affected)}", err=True)
        session.confirm("They can't be attached while the key is disabled. Disable it?")
    answer = session.api.kms("disable-key", key_id=key_id)
    session.show(answer, lambda: f"key {reference} is disabled")


def _show(session: Session, key_id: str) -> None:
    answer = session.api.kms("describe-key", key_id=key_id)
    session.show(answer, lambda: card(_row(answer["key_info"])))


def _row(details: dict[str, Any]) -> dict[str, str]:
    created = datetime.fromtimestamp(int(details["creation_date"]) / 1000, UTC)
    return {
        "alias": details["key_alias"],
        "id": details["key_id"],
        "state": STATES.get(details["key_state"], details["key_state"]),
        "kind": "default" if details["default_key_flag"] == "1" else "custom",
        "description": details["key_description"] or "-",
        "created": f"{created:%Y-%m-%dT%H:%M:%S} UTC",
    }
