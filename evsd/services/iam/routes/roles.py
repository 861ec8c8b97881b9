"""Roles, and which of them groups hold, in the domain or in a project."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request, Response

from evsd.api.router import Router, router
from evsd.api.routes import CallingPrincipal, Model, needs
from evsd.policy import given_roles, permissions_of
from evsd.services.iam import groups as records
from evsd.services.iam.errors import IamNotFound
from evsd.services.iam.permissions import IamPermission
from evsd.services.iam.routes.changes import MakesChanges
from evsd.services.iam.routes.dependencies import UsesIam
from evsd.services.iam.routes.fields import Links, UsesPaging, link, no_content, require_own_domain
from evsd.services.iam.style import IAM


class Statement(Model):
    """What a role allows."""

    Effect: str = "Allow"
    Action: list[str]


class RolePolicy(Model):
    """A role's part of the policy table."""

    Version: str = "1.0"
    Statement: list[Statement]


class RoleView(Model):
    """A role as published."""

    id: str
    name: str
    display_name: str
    type: str = "AA"  # for domains and for projects
    catalog: str = "BASE"
    description: str
    domain_id: str | None = None
    flag: str | None = None
    policy: RolePolicy
    links: Links


class RoleResponse(Model):
    """Of show role."""

    role: RoleView


class RolesResponse(Model):
    """Of list roles, and of the roles of a group or an agency."""

    roles: list[RoleView]
    total_number: int
    links: Links


routes: Router = router(IAM, "IAM")
ON_DOMAIN = "/v3/domains/{domain_id}/groups/{group_id}/roles"
ON_PROJECT = "/v3/projects/{project_id}/groups/{group_id}/roles"


@routes.get("/v3/roles", **needs(IamPermission.ROLE_LIST))
def list_roles(
    paging: UsesPaging, name: str | None = None, display_name: str | None = None
) -> RolesResponse:
    """The roles that groups and agencies can be given."""
    found = [
        role_id
        for role_id, role in given_roles().items()
        if name in (None, role_id) and display_name in (None, role.name)
    ]
    return roles_response(paging.of(found))


@routes.get("/v3/roles/{role_id}", **needs(IamPermission.ROLE_LIST))
def show_role(role_id: str) -> RoleResponse:
    """One role, with what it allows."""
    if role_id not in given_roles():
        raise IamNotFound(what="role", name=role_id)
    return RoleResponse(role=_role(role_id))


async def _target(request: Request, caller: CallingPrincipal) -> str:
    """The domain or project of the path; that a project is the caller's, `needs` has seen."""
    require_own_domain(caller, request.path_params.get("domain_id"))
    target_id: str = request.path_params.get("domain_id") or request.path_params["project_id"]
    return target_id


Target = Annotated[str, Depends(_target)]


@routes.get(ON_DOMAIN, **needs(IamPermission.GROUP_ROLE_LIST))
@routes.get(ON_PROJECT, **needs(IamPermission.GROUP_ROLE_LIST))
def list_group_roles(
    target_id: Target, group_id: str, caller: CallingPrincipal, iam: UsesIam
) -> RolesResponse:
    """A group's roles in the whole domain, or in one project."""
    return roles_response(iam.groups.roles(caller, group_id, target_id))


@routes.head(f"{ON_DOMAIN}/{{role_id}}", status_code=204, **needs(IamPermission.GROUP_ROLE_LIST))
@routes.head(f"{ON_PROJECT}/{{role_id}}", status_code=204, **needs(IamPermission.GROUP_ROLE_LIST))
def check_group_role(
    target_id: Target,
    group_id: str,
    role_id: str,
    caller: CallingPrincipal,
    iam: UsesIam,
) -> Response:
    """Whether a group has a role there."""
    iam.groups.require_role(caller, group_id, target_id, role_id)
    return no_content()


@routes.put(f"{ON_DOMAIN}/{{role_id}}", status_code=204, **needs(IamPermission.GROUP_ROLE_GRANT))
@routes.put(f"{ON_PROJECT}/{{role_id}}", status_code=204, **needs(IamPermission.GROUP_ROLE_GRANT))
def grant_group_role(
    target_id: Target, group_id: str, role_id: str, changes: MakesChanges
) -> Response:
    """Give a group a role in the domain and all its projects, or in one project."""
    changes.make(records.grant_group_role, group_id=group_id, target_id=target_id, role_id=role_id)
    return no_content()


@routes.delete(
    f"{ON_DOMAIN}/{{role_id}}", status_code=204, **needs(IamPermission.GROUP_ROLE_REVOKE)
)
@routes.delete(
    f"{ON_PROJECT}/{{role_id}}", status_code=204, **needs(IamPermission.GROUP_ROLE_REVOKE)
)
def revoke_group_role(
    target_id: Target, group_id: str, role_id: str, changes: MakesChanges
) -> Response:
    """Take that back."""
    changes.make(records.revoke_group_role, group_id=group_id, target_id=target_id, role_id=role_id)
    return no_content()


def roles_response(role_ids: list[str]) -> RolesResponse:
    """A list of roles."""
    roles = [_role(role_id) for role_id in role_ids]
    return RolesResponse(roles=roles, total_number=len(roles), links=link("roles"))


def _role(role_id: str) -> RoleView:
    role = given_roles()[role_id]
    actions = [str(permission) for permission in permissions_of(role)]
    return RoleView(
        id=role_id,
        name=role_id,
        display_name=role.name,
        description=role.name,
        policy=RolePolicy(Statement=[Statement(Action=actions)]),
        links=link("roles", role_id),
    )
