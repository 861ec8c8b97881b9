"""evsctl user and group: who is there, and what they may do."""

from __future__ import annotations

from typing import Any

import click

from evsd.cli.client import Api
from evsd.cli.errors import Refused
from evsd.cli.output import Session, card, output_option, pass_session, table, yes_option

USERS, GROUPS = "/v3.0/OS-USER/users", "/v3/groups"
domain_option = click.option(
    "--whole-domain",
    is_flag=True,
    help="In the domain with all its projects, not only in the project.",
)


@click.group()
def user() -> None:
    """Users of your domain; USER is a name or an id."""


@user.command("create")
@click.argument("name")
@click.option("--description", default="", help="Up to 255 characters.")
@output_option
@pass_session
def create_user(session: Session, name: str, description: str) -> None:
    """Create a user; what it may do comes from the groups it joins."""
    wanted = {"name": name, "description": description, "domain_id": session.api.domain_id}
    answer = session.api.request("POST", USERS, {"user": wanted})
    session.show(answer, lambda: f"user {name} is {answer['user']['id']}")


@user.command("list")
@output_option
@pass_session
def list_users(session: Session) -> None:
    """List the users."""
    answer = session.api.request("GET", "/v3/users")
    rows = [{**one, "state": _state(one)} for one in answer["users"]]
    session.show(answer, lambda: table(rows, ["name", "state", "description", "id"], "no users"))


@user.command("show")
@click.argument("reference", metavar="USER")
@output_option
@pass_session
def show_user(session: Session, reference: str) -> None:
    """Show a user and its groups."""
    api = session.api
    user_id = _user_id(api, reference)
    answer = api.request("GET", f"{USERS}/{user_id}")
    session.show(answer, lambda: _user_card(api, answer["user"]))


@user.command("enable")
@click.argument("reference", metavar="USER")
@output_option
@pass_session
def enable_user(session: Session, reference: str) -> None:
    """Let a disabled user act again."""
    _set_enabled(session, reference, enabled=True)


@user.command("disable")
@click.argument("reference", metavar="USER")
@output_option
@pass_session
def disable_user(session: Session, reference: str) -> None:
    """Stop all that a user does: its access keys stop at once."""
    _set_enabled(session, reference, enabled=False)


@user.command("delete")
@click.argument("reference", metavar="USER")
@yes_option
@output_option
@pass_session
def delete_user(session: Session, reference: str) -> None:
    """Remove a user with its access keys."""
    user_id = _user_id(session.api, reference)
    session.confirm(f"Remove user {reference} and its access keys?")
    answer = session.api.request("DELETE", f"/v3/users/{user_id}")
    session.show(answer, lambda: f"user {reference} is gone")


@click.group()
def group() -> None:
    """Groups of users, which hold roles; GROUP is a name or an id."""


@group.command("create")
@click.argument("name")
@click.option("--description", default="", help="Up to 255 characters.")
@output_option
@pass_session
def create_group(session: Session, name: str, description: str) -> None:
    """Create a group without members or roles."""
    wanted = {"name": name, "description": description}
    answer = session.api.request("POST", GROUPS, {"group": wanted})
    session.show(answer, lambda: f"group {name} is {answer['group']['id']}")


@group.command("list")
@output_option
@pass_session
def list_groups(session: Session) -> None:
    """List the groups."""
    answer = session.api.request("GET", GROUPS)
    empty = "no groups; evsctl group create makes one"
    session.show(answer, lambda: table(answer["groups"], ["name", "description", "id"], empty))


@group.command("show")
@click.argument("reference", metavar="GROUP")
@output_option
@pass_session
def show_group(session: Session, reference: str) -> None:
    """Show a group, its members, and its roles here and in the whole domain."""
    api = session.api
    answer = api.request("GET", f"{GROUPS}/{_group_id(api, reference)}")
    session.show(answer, lambda: _group_card(api, answer["group"]))


@group.command("delete")
@click.argument("reference", metavar="GROUP")
@yes_option
@output_option
@pass_session
def delete_group(session: Session, reference: str) -> None:
    """Remove a group; its members lose its roles at once."""
    group_id = _group_id(session.api, reference)
    session.confirm(f"Remove group {reference}?")
    answer = session.api.request("DELETE", f"{GROUPS}/{group_id}")
    session.show(answer, lambda: f"group {reference} is gone")


@group.command("add")
@click.argument("reference", metavar="GROUP")
@click.argument("member", metavar="USER")
@output_option
@pass_session
def add_member(session: Session, reference: str, member: str) -> None:
    """Put a user in a group."""
    answer = session.api.request("PUT", _membership(session.api, reference, member))
    session.show(answer, lambda: f"user {member} is in group {reference}")


@group.command("remove")
@click.argument("reference", metavar="GROUP")
@click.argument("member", metavar="USER")
@output_option
@pass_session
def remove_member(session: Session, reference: str, member: str) -> None:
    """Take a user out of a group."""
    answer = session.api.request("DELETE", _membership(session.api, reference, member))
    session.show(answer, lambda: f"user {member} is not in group {reference} any more")


@group.command("grant")
@click.argument("reference", metavar="GROUP")
@click.argument("wanted", metavar="ROLE")
@domain_option
@output_option
@pass_session
def grant(session: Session, reference: str, wanted: str, whole_domain: bool) -> None:
    """Give a group a role in the project, or in the whole domain."""
    path = _grants(session.api, reference, whole_domain)
    answer = session.api.request("PUT", f"{path}/{role_id(session.api, wanted)}")
    session.show(answer, lambda: f"group {reference} has role {wanted}")


@group.command("revoke")
@click.argument("reference", metavar="GROUP")
@click.argument("wanted", metavar="ROLE")
@domain_option
@output_option
@pass_session
def revoke(session: Session, reference: str, wanted: str, whole_domain: bool) -> None:
    """Take a role back."""
    path = _grants(session.api, reference, whole_domain)
    answer = session.api.request("DELETE", f"{path}/{role_id(session.api, wanted)}")
    session.show(answer, lambda: f"group {reference} has role {wanted} no more")


def role_id(api: Api, reference: str) -> str:
    """The id of a role, by id or by its name for people."""
    for role in api.request("GET", "/v3/roles")["roles"]:
        if reference in (role["id"], role["display_name"]):
            return str(role["id"])
    raise Refused("IAM.0004", f"role {reference} does not exist", "`evsctl role list` shows them")


def _set_enabled(session: Session, reference: str, *, enabled: bool) -> None:
    user_id = _user_id(session.api, reference)
    answer = session.api.request("PUT", f"{USERS}/{user_id}", {"user": {"enabled": enabled}})
    session.show(answer, lambda: f"user {reference} is {_state(answer['user'])}")


def _state(one: dict[str, Any]) -> str:
    return "enabled" if one["enabled"] else "disabled"


def _user_id(api: Api, reference: str) -> str:
    return str(api.identity("users", reference)["id"])


def _group_id(api: Api, reference: str) -> str:
    return str(api.identity("groups", reference)["id"])


def _membership(api: Api, reference: str, member: str) -> str:
    return f"{GROUPS}/{_group_id(api, reference)}/users/{_user_id(api, member)}"


def _grants(api: Api, reference: str, whole_domain: bool) -> str:
    target = f"domains/{api.domain_id}" if whole_domain else f"projects/{api.project_id}"
    return f"/v3/{target}/groups/{_group_id(api, reference)}/roles"


def _user_card(api: Api, one: dict[str, Any]) -> str:
    groups = api.request("GET", f"/v3/users/{one['id']}/groups")["groups"]
    return card(
        {
            "name": one["name"],
            "id": one["id"],
            "state": _state(one),
            "groups": ", ".join(group["name"] for group in groups) or "-",
            "description": one["description"] or "-",
        }
    )


def _group_card(api: Api, one: dict[str, Any]) -> str:
    members = api.request("GET", f"{GROUPS}/{one['id']}/users")["users"]
    in_domain = api.request("GET", _grants(api, one["id"], whole_domain=True))["roles"]
    in_project = api.request("GET", _grants(api, one["id"], whole_domain=False))["roles"]
    return card(
        {
            "name": one["name"],
            "id": one["id"],
            "members": ", ".join(member["name"] for member in members) or "-",
            "roles in the domain": ", ".join(r["display_name"] for r in in_domain) or "-",
            "roles in the project": ", ".join(r["display_name"] for r in in_project) or "-",
            "description": one["description"] or "-",
        }
    )
