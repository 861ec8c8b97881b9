"""evsctl agency: trust between domains."""

from __future__ import annotations

from typing import Any

import click

from evsd.cli.access_keys import show_temporary
from evsd.cli.client import Api
from evsd.cli.output import Session, output_option, pass_session, table, yes_option
from evsd.cli.users import role_id

AGENCIES = "/v3.0/OS-AGENCY/agencies"


@click.group()
def agency() -> None:
    """Agencies: another domain acts in projects of yours; AGENCY is a name or an id."""


@agency.command()
@click.argument("name")
@click.option("--trust", required=True, metavar="DOMAIN", help="The name of the trusted domain.")
@click.option("--days", type=int, help="How long; for ever if not given.")
@click.option("--description", default="", help="Up to 255 characters.")
@output_option
@pass_session
def create(session: Session, name: str, trust: str, days: int | None, description: str) -> None:
    """Trust another domain; it may do nothing before a role is granted."""
    wanted: dict[str, Any] = {
        "name": name,
        "domain_id": session.api.domain_id,
        "trust_domain_name": trust,
        "description": description,
        "duration": "FOREVER" if days is None else days,
    }
    answer = session.api.request("POST", AGENCIES, {"agency": wanted})
    session.show(answer, lambda: f"agency {name} trusts {trust}")


@agency.command("list")
@output_option
@pass_session
def list_agencies(session: Session) -> None:
    """List the agencies, and what they may do in the project."""
    show_agencies(session, "none; evsctl agency create makes one")


@agency.command()
@click.argument("reference", metavar="AGENCY")
@yes_option
@output_option
@pass_session
def delete(session: Session, reference: str) -> None:
    """End the trust in all projects, and for whoever has assumed the agency."""
    agency_id = _agency_id(session.api, reference)
    session.confirm(f"End agency {reference} in all projects?")
    answer = session.api.request("DELETE", f"{AGENCIES}/{agency_id}")
    session.show(answer, lambda: f"agency {reference} is gone")


@agency.command()
@click.argument("reference", metavar="AGENCY")
@click.argument("wanted", metavar="ROLE")
@output_option
@pass_session
def grant(session: Session, reference: str, wanted: str) -> None:
    """Give an agency a role in the project."""
    path = grants(_agency_id(session.api, reference))
    answer = session.api.request("PUT", f"{path}/{role_id(session.api, wanted)}")
    session.show(answer, lambda: f"agency {reference} has role {wanted}")


@agency.command()
@click.argument("reference", metavar="AGENCY")
@click.argument("wanted", metavar="ROLE")
@output_option
@pass_session
def revoke(session: Session, reference: str, wanted: str) -> None:
    """Take a role back."""
    path = grants(_agency_id(session.api, reference))
    answer = session.api.request("DELETE", f"{path}/{role_id(session.api, wanted)}")
    session.show(answer, lambda: f"agency {reference} has role {wanted} no more")


@agency.command()
@click.argument("name", metavar="AGENCY")
@click.option("--domain", required=True, metavar="DOMAIN", help="The domain whose agency it is.")
@click.option("--minutes", type=int, default=15, help="How long it is good for: 15 to 1440.")
@output_option
@pass_session
def assume(session: Session, name: str, domain: str, minutes: int) -> None:
    """Create a temporary pair with which you act in a domain that trusts yours."""
    assumed = {"agency_name": name, "domain_name": domain, "duration_seconds": minutes * 60}
    show_temporary(session, {"methods": ["assume_role"], "assume_role": assumed})


def grants(agency_id: str) -> str:
    """The path of an agency's roles in the project."""
    return f"/v3.0/OS-AGENCY/projects/{{project}}/agencies/{agency_id}/roles"


def roles_here(api: Api, one: dict[str, Any], field: str) -> list[str]:
    """One field of each role the agency has in this project."""
    return [str(role[field]) for role in api.request("GET", grants(one["id"]))["roles"]]


def show_agencies(session: Session, empty: str) -> None:
    """Show all agencies, and what they may do in the project."""
    api = session.api
    answer = api.request("GET", AGENCIES)
    columns = ["name", "trusts", "in this project", "until", "id"]
    session.show(
        answer, lambda: table([_row(api, one) for one in answer["agencies"]], columns, empty)
    )


def _row(api: Api, one: dict[str, Any]) -> dict[str, str]:
    return {
        "name": one["name"],
        "trusts": one["trust_domain_name"],
        "in this project": ", ".join(roles_here(api, one, "display_name")) or "nothing",
        "until": f"{one['expire_time'][:19]} UTC" if one["expire_time"] else "for ever",
        "id": one["id"],
    }


def _agency_id(api: Api, reference: str) -> str:
    return str(api.identity("agencies", reference, AGENCIES)["id"])
