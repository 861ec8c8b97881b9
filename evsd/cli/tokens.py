"""evsctl token: what clients that can't sign say who they are with."""

from __future__ import annotations

import click

from evsd.cli.access_keys import minutes_option, user_id, user_option
from evsd.cli.output import Session, card, output_option, pass_session, table, yes_option

PATH = "/v3.0/OS-CREDENTIAL/tokens"


@click.group()
def token() -> None:
    """Tokens for clients that can't sign, as OpenStack's for images."""


@token.command()
@minutes_option
@click.option(
    "--access-key",
    metavar="AK",
    help="One of yours, with which the token ends; else the one that signs, if one does.",
)
@click.option("--description", default="", help="Up to 255 characters.")
@output_option
@pass_session
def create(session: Session, minutes: int, access_key: str | None, description: str) -> None:
    """Create a token that acts as you; it is shown only now."""
    wanted = {"duration_seconds": minutes * 60, "access": access_key, "description": description}
    answer = session.api.request("POST", PATH, {"token": wanted})
    made = answer["token"]
    shown = {"token": made["token"], "id": made["id"], "until": f"{made['expires_at'][:19]} UTC"}
    session.show(answer, lambda: card(shown))


@token.command("list")
@user_option
@output_option
@pass_session
def list_tokens(session: Session, user: str | None) -> None:
    """List the tokens that can be used."""
    answer = session.api.request("GET", PATH, query=user_id(session, user))
    columns = ["id", "until", "access key", "created", "description"]
    empty = "no tokens; evsctl token create makes one"
    session.show(answer, lambda: table(map(_row, answer["tokens"]), columns, empty))


@token.command()
@click.argument("token_id", metavar="ID")
@yes_option
@output_option
@pass_session
def revoke(session: Session, token_id: str) -> None:
    """End a token at once, by its id: the part before the dot."""
    token_id = token_id.partition(".")[0]
    session.confirm(f"End token {token_id}?")
    answer = session.api.request("DELETE", f"{PATH}/{token_id}")
    session.show(answer, lambda: f"token {token_id} is gone")


def _row(token: dict[str, str | None]) -> dict[str, str]:
    return {
        "id": str(token["id"]),
        "until": f"{str(token['expires_at'])[:19]} UTC",
        "access key": token["access"] or "",
        "created": f"{str(token['create_time'])[:19]} UTC",
        "description": token["description"] or "",
    }
