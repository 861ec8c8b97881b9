"""evsctl key grant: create, list, list-retirable, revoke, retire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from evsd.cli.output import Session, output_option, pass_session, table, yes_option
from evsd.services.kms.permissions import GrantOperation

COLUMNS = ["id", "to", "operations", "name"]


@click.group()
def grant() -> None:
    """Grants: one key's use lent to a user or a domain, operation by operation."""


@grant.command()
@click.argument("reference", metavar="KEY")
@click.option("--to", "grantee", metavar="ID", required=True, help="Id of a user or domain.")
@click.option("--domain", is_flag=True, help="ID is a domain's: all its users may use the key.")
@click.option(
    "--operation",
    "operations",
    multiple=True,
    required=True,
    type=click.Choice([str(operation) for operation in GrantOperation]),
    help="What may be done. May be repeated.",
)
@click.option("--name", help="A name for the grant.")
@click.option("--retiring", metavar="ID", help="Who else may give the grant up.")
@output_option
@pass_session
def create(
    session: Session,
    reference: str,
    grantee: str,
    domain: bool,
    operations: Sequence[str],
    name: str | None,
    retiring: str | None,
) -> None:
    """Lend a key."""
    optional = {"name": name, "retiring_principal": retiring}
    answer = session.api.kms(
        "create-grant",
        key_id=session.api.key_id(reference),
        grantee_principal=grantee,
        grantee_principal_type="domain" if domain else "user",
        operations=list(operations),
        **{field: value for field, value in optional.items() if value is not None},
    )
    session.show(answer, lambda: str(answer["grant_id"]))


@grant.command("list")
@click.argument("reference", metavar="KEY")
@output_option
@pass_session
def list_grants(session: Session, reference: str) -> None:
    """List the grants on a key."""
    answer = session.api.kms("list-grants", key_id=session.api.key_id(reference), limit="1000")
    session.show(answer, lambda: _table(answer))


@grant.command("list-retirable")
@output_option
@pass_session
def list_retirable(session: Session) -> None:
    """List the grants you may give up."""
    answer = session.api.kms("list-retirable-grants", limit="1000")
    session.show(answer, lambda: _table(answer))


@grant.command()
@click.argument("reference", metavar="KEY")
@click.argument("grant_id", metavar="GRANT")
@yes_option
@output_option
@pass_session
def revoke(session: Session, reference: str, grant_id: str) -> None:
    """Take a grant on a key of yours back."""
    session.confirm(f"Its grantee can't use key {reference} any more. Revoke the grant?")
    key_id = session.api.key_id(reference)
    answer = session.api.kms("revoke-grant", key_id=key_id, grant_id=grant_id)
    session.show(answer, lambda: "the grant is revoked")


@grant.command()
@click.argument("reference", metavar="KEY")
@click.argument("grant_id", metavar="GRANT")
@output_option
@pass_session
def retire(session: Session, reference: str, grant_id: str) -> None:
    """Give up a grant that names you; another project's key is named by its id."""
    key_id = session.api.key_id(reference)
    answer = session.api.kms("retire-grant", key_id=key_id, grant_id=grant_id)
    session.show(answer, lambda: "the grant is retired")


def _table(answer: dict[str, Any]) -> str:
    rows = [
        {
            "id": found["grant_id"],
            "to": f"{found['grantee_principal_type']} {found['grantee_principal']}",
            "operations": ", ".join(found["operations"]),
            "name": found["name"] or "-",
        }
        for found in answer["grants"]
    ]
    return table(rows, COLUMNS, "no grants")
