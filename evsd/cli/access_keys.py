"""evsctl access-key: AK/SK pairs for callers over TCP."""

from __future__ import annotations

import click

from evsd.cli.output import Session, card, output_option, pass_session, table, yes_option

PATH = "/v3.0/OS-CREDENTIAL/credentials"


@click.group()
def access_key() -> None:
    """Access keys (AK/SK), with which requests over TCP are signed."""


@access_key.command()
@click.option("--description", default="", help="Up to 255 characters.")
@output_option
@pass_session
def create(session: Session, description: str) -> None:
    """Create a pair that acts as you; the secret is shown only now."""
    wanted = {"credential": {"description": description}}
    answer = session.api.request("POST", PATH, wanted)
    made = answer["credential"]
    session.show(answer, lambda: card({"access key": made["access"], "secret key": made["secret"]}))


@access_key.command("list")
@output_option
@pass_session
def list_access_keys(session: Session) -> None:
    """List your access keys."""
    answer = session.api.request("GET", PATH)
    columns = ["access", "status", "create_time", "description"]
    empty = "no access keys; evsctl access-key create makes one"
    session.show(answer, lambda: table(answer["credentials"], columns, empty))


@access_key.command()
@click.argument("access", metavar="AK")
@yes_option
@output_option
@pass_session
def delete(session: Session, access: str) -> None:
    """End an access key at once."""
    session.confirm(f"End access key {access}?")
    answer = session.api.request("DELETE", f"{PATH}/{access}")
    session.show(answer, lambda: f"access key {access} is gone")
