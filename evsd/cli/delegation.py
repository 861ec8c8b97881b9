"""evsctl delegation: lets the volume service use the keys of a project."""

from __future__ import annotations

from typing import Any

import click

from evsd.cli.client import Api
from evsd.cli.errors import Refused
from evsd.cli.output import Session, output_option, pass_session, table, yes_option
from evsd.iam.policy import KMS_ADMINISTRATOR, VOLUME_SERVICE

AGENCY = "EVSAccessKMS"
AGENCIES = "/v3.0/OS-AGENCY/agencies"


@click.group()
def delegation() -> None:
    """Whether the volume service may use the keys of a project."""


@delegation.command()
@output_option
@pass_session
def create(session: Session) -> None:
    """Allow it; needs a security administrator, once for each project."""
    api = session.api
    agency = _agency(api) or _create(api)
    api.request("PUT", f"{_grants(agency)}/{KMS_ADMINISTRATOR}")
    answer = api.request("GET", f"{AGENCIES}/{agency['id']}")
    session.show(answer, lambda: f"agency {AGENCY}: the volume service may use this project's keys")


@delegation.command("list")
@output_option
@pass_session
def list_delegations(session: Session) -> None:
    """List the agencies and whether they hold in this project."""
    api = session.api
    answer = api.request("GET", AGENCIES)
    rows = [
        {
            "name": agency["name"],
            "trusts": agency["trust_domain_name"],
            "in this project": ", ".join(_roles(api, agency, "display_name")) or "nothing",
            "id": agency["id"],
        }
        for agency in answer["agencies"]
    ]
    columns = ["name", "trusts", "in this project", "id"]
    session.show(answer, lambda: table(rows, columns, "none; evsctl delegation create makes it"))


@delegation.command()
@yes_option
@output_option
@pass_session
def revoke(session: Session) -> None:
    """Take it back: no new volumes and no new attaches in this project."""
    api = session.api
    agency = _agency(api)
    if agency is None or KMS_ADMINISTRATOR not in _roles(api, agency, "id"):
        raise Refused("", "the volume service may use no keys in this project", "")
    session.confirm("No volume of this project can be attached afterwards. Revoke?")
    api.request("DELETE", f"{_grants(agency)}/{KMS_ADMINISTRATOR}")
    answer = api.request("GET", f"{AGENCIES}/{agency['id']}")
    session.show(answer, lambda: "the volume service may use this project's keys no more")


def _agency(api: Api) -> dict[str, Any] | None:
    agencies: list[dict[str, Any]] = api.request("GET", AGENCIES)["agencies"]
    return next((a for a in agencies if a["trust_domain_name"] == VOLUME_SERVICE), None)


def _create(api: Api) -> dict[str, Any]:
    domain = api.request("GET", "/v3/auth/domains")["domains"][0]
    wanted = {
        "name": AGENCY,
        "domain_id": domain["id"],
        "trust_domain_name": VOLUME_SERVICE,
        "description": "lets the volume service use keys",
    }
    agency: dict[str, Any] = api.request("POST", AGENCIES, {"agency": wanted})["agency"]
    return agency


def _grants(agency: dict[str, Any]) -> str:
    return f"/v3.0/OS-AGENCY/projects/{{project}}/agencies/{agency['id']}/roles"


def _roles(api: Api, agency: dict[str, Any], field: str) -> list[str]:
    """One field of each role the agency has in this project."""
    return [str(role[field]) for role in api.request("GET", _grants(agency))["roles"]]
