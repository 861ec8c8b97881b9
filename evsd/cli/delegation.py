"""evsctl delegation: lets the volume service use the keys of a project."""

from __future__ import annotations

from typing import Any

import click

from evsd.cli.agencies import AGENCIES, grants, roles_here, show_agencies
from evsd.cli.client import Api
from evsd.cli.errors import Refused
from evsd.cli.interrupts import answered
from evsd.cli.output import Session, output_option, pass_session, yes_option
from evsd.services.evs.permissions import VOLUME_SERVICE
from evsd.services.kms.permissions import KMS_ADMINISTRATOR

AGENCY = "EVSAccessKMS"


@click.group()
def delegation() -> None:
    """Whether the volume service may use the keys of a project."""


@delegation.command()
@output_option
@pass_session
def create(session: Session) -> None:
    """Allow it; needs a security administrator, once for each project."""
    api = session.api
    with answered():
        agency = _agency(api) or _create(api)
        api.request("PUT", f"{grants(agency['id'])}/{KMS_ADMINISTRATOR.id}")
    answer = api.request("GET", f"{AGENCIES}/{agency['id']}")
    session.show(answer, lambda: f"agency {AGENCY}: the volume service may use this project's keys")


@delegation.command("list")
@output_option
@pass_session
def list_delegations(session: Session) -> None:
    """List the agencies and whether they hold in this project."""
    show_agencies(session, "none; evsctl delegation create makes it")


@delegation.command()
@yes_option
@output_option
@pass_session
def revoke(session: Session) -> None:
    """Take it back: no new volumes and no new attaches in this project."""
    api = session.api
    agency = _agency(api)
    if agency is None or KMS_ADMINISTRATOR.id not in roles_here(api, agency, "id"):
        raise Refused("", "the volume service may use no keys in this project", "")
    session.confirm("No volume of this project can be attached afterwards. Revoke?")
    api.request("DELETE", f"{grants(agency['id'])}/{KMS_ADMINISTRATOR.id}")
    answer = api.request("GET", f"{AGENCIES}/{agency['id']}")
    session.show(answer, lambda: "the volume service may use this project's keys no more")


def _agency(api: Api) -> dict[str, Any] | None:
    agencies: list[dict[str, Any]] = api.request("GET", AGENCIES)["agencies"]
    return next((a for a in agencies if a["trust_domain_name"] == VOLUME_SERVICE), None)


def _create(api: Api) -> dict[str, Any]:
    wanted = {
        "name": AGENCY,
        "domain_id": api.domain_id,
        "trust_domain_name": VOLUME_SERVICE,
        "description": "lets the volume service use keys",
    }
    agency: dict[str, Any] = api.request("POST", AGENCIES, {"agency": wanted})["agency"]
    return agency
