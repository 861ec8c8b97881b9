"""evsctl domain, project, role: tenants, what they have, and what can be allowed in it."""

from __future__ import annotations

import click

from evsd.cli.access_keys import pair
from evsd.cli.output import Session, card, changes, output_option, pass_session, table


@click.group()
def domain() -> None:
    """Domains (tenants); only the operator, on the unix socket, makes and lists them."""


@domain.command("create")
@click.argument("name")
@click.option("--administrator", default="admin", help="Its first user (default: admin).")
@output_option
@pass_session
def create_domain(session: Session, name: str, administrator: str) -> None:
    """Create a domain, with a project `default` and a user who administers it.

    The secret key of that user is shown only now.
    """
    wanted = {"name": name, "administrator": administrator}
    answer = session.api.request("POST", "/v3/domains", {"domain": wanted})
    who = {"domain id": answer["domain"]["id"], "administrator": administrator}
    session.show(answer, lambda: f"{card(who)}\n{pair(answer['administrator'])}")


@domain.command("list")
@output_option
@pass_session
def list_domains(session: Session) -> None:
    """List all domains."""
    answer = session.api.request("GET", "/v3/domains")
    session.show(answer, lambda: table(answer["domains"], ["name", "id"], "none"))


@click.group()
def project() -> None:
    """Projects of your domain."""


@project.command("create")
@click.argument("name")
@click.option("--description", default="", help="Up to 255 characters.")
@output_option
@pass_session
def create_project(session: Session, name: str, description: str) -> None:
    """Create a project; needs a security administrator."""
    wanted = {"name": name, "description": description, "parent_id": session.api.domain_id}
    answer = session.api.request("POST", "/v3/projects", {"project": wanted})
    session.show(answer, lambda: f"project {name} is {answer['project']['id']}")


@project.command("list")
@output_option
@pass_session
def list_projects(session: Session) -> None:
    """List the projects in which you have a role."""
    answer = session.api.request("GET", "/v3/projects")
    columns = ["name", "description", "id"]
    session.show(
        answer, lambda: table(answer["projects"], columns, "none in which you have a role")
    )


@project.command("update")
@click.argument("reference", metavar="PROJECT")
@click.option("--name", help="Its new name.")
@click.option("--description", help="Up to 255 characters.")
@output_option
@pass_session
def update_project(
    session: Session, reference: str, name: str | None, description: str | None
) -> None:
    """Give a project another name or description."""
    wanted = changes(name=name, description=description)
    project_id = session.api.identity("projects", reference)["id"]
    answer = session.api.request("PATCH", f"/v3/projects/{project_id}", {"project": wanted})
    session.show(answer, lambda: f"project {answer['project']['name']} is changed")


@click.group()
def role() -> None:
    """Roles, which groups and agencies can be given."""


@role.command("list")
@output_option
@pass_session
def list_roles(session: Session) -> None:
    """List the roles; docs/permissions.md says what each allows."""
    answer = session.api.request("GET", "/v3/roles")
    rows = [{"name": role["display_name"], "id": role["id"]} for role in answer["roles"]]
    session.show(answer, lambda: table(rows, ["name", "id"], "none"))
