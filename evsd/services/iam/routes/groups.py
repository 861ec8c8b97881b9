"""Groups and their members."""

from __future__ import annotations

from fastapi import Request, Response

from evsd.api.router import Router, router
from evsd.api.routes import CallingPrincipal, Model, needs, require_self_or_administrator
from evsd.services.iam import groups as records
from evsd.services.iam.permissions import IamPermission
from evsd.services.iam.routes.changes import MakesChanges
from evsd.services.iam.routes.dependencies import UsesIam
from evsd.services.iam.routes.fields import (
    Description,
    Id,
    Links,
    Name,
    NameFilter,
    link,
    no_content,
    require_own_domain,
)
from evsd.services.iam.routes.users import UsersResponse, users_response
from evsd.services.iam.style import IAM
from evsd.services.iam.tables import Group
from evsd.store.database import milliseconds


class WantedGroup(Model):
    """Create group."""

    name: Name
    description: Description = ""
    domain_id: Id | None = None


class CreateGroupBody(Model):
    """Create group."""

    group: WantedGroup


class GroupView(Model):
    """A group as published; the time is in milliseconds since 1970."""

    id: str
    name: str
    domain_id: str
    description: str
    create_time: int
    links: Links


class GroupResponse(Model):
    """Of create and show group."""

    group: GroupView


class GroupsResponse(Model):
    """Of list groups."""

    groups: list[GroupView]
    links: Links


routes: Router = router(IAM, "IAM")
MEMBER = "/v3/groups/{group_id}/users/{user_id}"


@routes.get("/v3/groups", **needs(IamPermission.GROUP_LIST))
def list_groups(
    caller: CallingPrincipal,
    iam: UsesIam,
    name: NameFilter | None = None,
    domain_id: str | None = None,
) -> GroupsResponse:
    """The groups of the caller's domain."""
    require_own_domain(caller, domain_id)
    return _groups(iam.groups.groups(caller, name))


@routes.get(
    "/v3/users/{user_id}/groups",
    **needs(IamPermission.OWN_USER_SHOW, of_others=IamPermission.USER_SHOW),
)
def list_groups_of_user(
    user_id: str, request: Request, caller: CallingPrincipal, iam: UsesIam
) -> GroupsResponse:
    """The groups a user is in."""
    require_self_or_administrator(request, user_id)
    user = iam.users.user(caller, user_id)
    return _groups(iam.groups.groups(caller, user_id=user.id))


@routes.post("/v3/groups", status_code=201, **needs(IamPermission.GROUP_CREATE))
def create_group(
    body: CreateGroupBody, caller: CallingPrincipal, iam: UsesIam, changes: MakesChanges
) -> GroupResponse:
    """A group without members or roles."""
    require_own_domain(caller, body.group.domain_id)
    wanted = body.group
    made = changes.make(records.create_group, name=wanted.name, description=wanted.description)
    return GroupResponse(group=_group(iam.groups.group(caller, made["group_id"])))


@routes.get("/v3/groups/{group_id}", **needs(IamPermission.GROUP_SHOW))
def show_group(group_id: str, caller: CallingPrincipal, iam: UsesIam) -> GroupResponse:
    """One group."""
    return GroupResponse(group=_group(iam.groups.group(caller, group_id)))


@routes.delete("/v3/groups/{group_id}", status_code=204, **needs(IamPermission.GROUP_DELETE))
def delete_group(group_id: str, changes: MakesChanges) -> Response:
    """Remove a group; its members lose its roles at once."""
    changes.make(records.delete_group, group_id=group_id)
    return no_content()


@routes.get("/v3/groups/{group_id}/users", **needs(IamPermission.MEMBER_LIST))
def list_members(group_id: str, caller: CallingPrincipal, iam: UsesIam) -> UsersResponse:
    """The users in a group."""
    return users_response(iam.groups.members(caller, group_id))


@routes.head(MEMBER, status_code=204, **needs(IamPermission.MEMBER_LIST))
def check_member(group_id: str, user_id: str, caller: CallingPrincipal, iam: UsesIam) -> Response:
    """Whether a user is in a group."""
    iam.groups.require_member(caller, group_id, user_id)
    return no_content()


@routes.put(MEMBER, status_code=204, **needs(IamPermission.MEMBER_ADD))
def add_member(group_id: str, user_id: str, changes: MakesChanges) -> Response:
    """Put a user in a group."""
    changes.make(records.add_member, group_id=group_id, user_id=user_id)
    return no_content()


@routes.delete(MEMBER, status_code=204, **needs(IamPermission.MEMBER_REMOVE))
def remove_member(group_id: str, user_id: str, changes: MakesChanges) -> Response:
    """Take a user out of a group."""
    changes.make(records.remove_member, group_id=group_id, user_id=user_id)
    return no_content()


def _groups(groups: list[Group]) -> GroupsResponse:
    return GroupsResponse(groups=[_group(group) for group in groups], links=link("groups"))


def _group(group: Group) -> GroupView:
    return GroupView(
        id=group.id,
        name=group.name,
        domain_id=group.domain_id,
        description=group.description,
        create_time=milliseconds(group.created_at),
        links=link("groups", group.id),
    )
