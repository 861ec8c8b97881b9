"""evsctl access-key: AK/SK pairs for callers over TCP."""

from __future__ import annotations

from typing import Any

import click

from evsd.cli.output import Session, card, output_option, pass_session, table, yes_option

PATH = "/v3.0/OS-CREDENTIAL/credentials"
TEMPORARY = "/v3.0/OS-CREDENTIAL/securitytokens"

minutes_option = click.option(
    "--minutes", type=int, default=15, help="How long it is good for: 15 to 1440."
)
user_option = click.option(
    "--user", metavar="USER", help="Of this user, a name or id; else your own."
)


@click.group()
def access_key() -> None:
    """Access keys (AK/SK), with which requests over TCP are signed."""


@access_key.command()
@user_option
@click.option("--description", default="", help="Up to 255 characters.")
@output_option
@pass_session
def create(session: Session, user: str | None, description: str) -> None:
    """Create a pair that acts as its user; the secret is shown only now."""
    wanted = {"description": description, **user_id(session, user)}
    answer = session.api.request("POST", PATH, {"credential": wanted})
    session.show(answer, lambda: pair(answer["credential"]))


@access_key.command("list")
@user_option
@output_option
@pass_session
def list_access_keys(session: Session, user: str | None) -> None:
    """List access keys."""
    answer = session.api.request("GET", PATH, query=user_id(session, user))
    columns = ["access key", "status", "created", "description"]
    empty = "no access keys; evsctl access-key create makes one"
    session.show(answer, lambda: table(map(_row, answer["credentials"]), columns, empty))


@access_key.command()
@click.argument("access", metavar="AK")
@output_option
@pass_session
def show(session: Session, access: str) -> None:
    """Show an access key, and when it was last used."""
    answer = session.api.request("GET", f"{PATH}/{access}")
    session.show(answer, lambda: card({k: v or "-" for k, v in answer["credential"].items()}))


@access_key.command()
@click.argument("access", metavar="AK")
@output_option
@pass_session
def enable(session: Session, access: str) -> None:
    """Let an inactive access key be used again."""
    _set_status(session, access, "active")


@access_key.command()
@click.argument("access", metavar="AK")
@output_option
@pass_session
def disable(session: Session, access: str) -> None:
    """Stop an access key at once, until it is enabled."""
    _set_status(session, access, "inactive")


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


@access_key.command()
@minutes_option
@output_option
@pass_session
def temporary(session: Session, minutes: int) -> None:
    """Create a temporary pair that acts as you; set EVSD_SECURITY_TOKEN to its token."""
    identity = {"methods": ["token"], "token": {"duration_seconds": minutes * 60}}
    show_temporary(session, identity)


def show_temporary(session: Session, identity: dict[str, Any]) -> None:
    """Ask for temporary credentials and show them."""
    answer = session.api.request("POST", TEMPORARY, {"auth": {"identity": identity}})
    made = answer["credential"]
    more = {"security token": made["securitytoken"], "until": made["expires_at"]}
    session.show(answer, lambda: pair(made, more))


def pair(made: dict[str, Any], more: dict[str, str] | None = None) -> str:
    """An access key and its secret, for a person."""
    return card({"access key": made["access"], "secret key": made["secret"], **(more or {})})


def _set_status(session: Session, access: str, status: str) -> None:
    changed = {"credential": {"status": status}}
    answer = session.api.request("PUT", f"{PATH}/{access}", changed)
    session.show(answer, lambda: f"access key {access} is {status}")


def user_id(session: Session, user: str | None) -> dict[str, str]:
    """The field that names a user, by its name or id; none where none is named."""
    return {} if user is None else {"user_id": session.api.identity("users", user)["id"]}


def _row(credential: dict[str, str]) -> dict[str, str]:
    return {
        "access key": credential["access"],
        "status": credential["status"],
        "created": f"{credential['create_time'][:19]} UTC",
        "description": credential["description"],
    }
