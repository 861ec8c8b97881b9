"""Users, on Keystone's paths and on the cloud's own."""

from __future__ import annotations

from typing import Annotated

from fastapi import Request, Response
from pydantic import AfterValidator, Field

from evsd.api.fields import microseconds, printable
from evsd.api.router import Router, router
from evsd.api.routes import CallingPrincipal, Model, needs, require_self_or_administrator
from evsd.services.iam import users as records
from evsd.services.iam.errors import IamRequestInvalid
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
from evsd.services.iam.style import IAM
from evsd.services.iam.tables import User

Email = Annotated[str, Field(max_length=255), AfterValidator(printable)]


class UserChanges(Model):
    """Update user; what is not given stays."""

    name: Name | None = None
    description: Description | None = None
    email: Email | None = None
    enabled: bool | None = None
    password: str | None = None


class WantedUser(UserChanges):
    """Create user."""

    name: Name
    domain_id: Id | None = None


class CreateUserBody(Model):
    """Create user."""

    user: WantedUser


class UpdateUserBody(Model):
    """Update user."""

    user: UserChanges


class UserView(Model):
    """A user as both families of paths publish it."""

    id: str
    name: str
    domain_id: str
    description: str
    email: str
    enabled: bool
    access_mode: str = "programmatic"
    pwd_status: bool = False
    password_expires_at: str | None = None
    last_project_id: str | None = None
    default_project_id: str | None = None
    is_domain_owner: bool = False
    status: int
    areacode: str = ""
    phone: str = ""
    xuser_id: str = ""
    xuser_type: str = ""
    xdomain_id: str = ""
    xdomain_type: str = ""
    create_time: str
    links: Links


class UserResponse(Model):
    """Of create, show and update user."""

    user: UserView


class UsersResponse(Model):
    """Of list users."""

    users: list[UserView]
    links: Links


routes: Router = router(IAM, "IAM")


@routes.get("/v3/users", **needs(IamPermission.USER_LIST))
def list_users(
    caller: CallingPrincipal,
    iam: UsesIam,
    name: NameFilter | None = None,
    domain_id: str | None = None,
    enabled: bool | None = None,
) -> UsersResponse:
    """The users of the caller's domain."""
    require_own_domain(caller, domain_id)
    return users_response(iam.users.users(caller, name, enabled))


@routes.get(
    "/v3/users/{user_id}", **needs(IamPermission.OWN_USER_SHOW, of_others=IamPermission.USER_SHOW)
)
@routes.get(
    "/v3.0/OS-USER/users/{user_id}",
    **needs(IamPermission.OWN_USER_SHOW, of_others=IamPermission.USER_SHOW),
)
def show_user(
    user_id: str, request: Request, caller: CallingPrincipal, iam: UsesIam
) -> UserResponse:
    """One user."""
    require_self_or_administrator(request, user_id)
    return UserResponse(user=_user(iam.users.user(caller, user_id)))


@routes.post("/v3/users", status_code=201, **needs(IamPermission.USER_CREATE))
@routes.post("/v3.0/OS-USER/users", status_code=201, **needs(IamPermission.USER_CREATE))
def create_user(
    body: CreateUserBody, caller: CallingPrincipal, iam: UsesIam, changes: MakesChanges
) -> UserResponse:
    """A user; what it may do comes from the groups it joins."""
    wanted = body.user
    require_own_domain(caller, wanted.domain_id)
    _refuse_password(wanted)
    made = changes.make(
        records.create_user,
        name=wanted.name,
        description=wanted.description or "",
        email=wanted.email or "",
        enabled=wanted.enabled is not False,
    )
    return UserResponse(user=_user(iam.users.user(caller, made["user_id"])))


@routes.patch("/v3/users/{user_id}", **needs(IamPermission.USER_UPDATE))
@routes.put("/v3.0/OS-USER/users/{user_id}", **needs(IamPermission.USER_UPDATE))
def update_user(
    user_id: str,
    body: UpdateUserBody,
    caller: CallingPrincipal,
    iam: UsesIam,
    changes: MakesChanges,
) -> UserResponse:
    """Change a user; the access keys of one that is disabled stop at once."""
    _refuse_password(body.user)
    values = body.user.model_dump(exclude_none=True)
    changes.make(records.update_user, user_id=user_id, **values)
    return UserResponse(user=_user(iam.users.user(caller, user_id)))


@routes.delete("/v3/users/{user_id}", status_code=204, **needs(IamPermission.USER_DELETE))
def delete_user(user_id: str, changes: MakesChanges) -> Response:
    """Remove a user, and its access keys at once."""
    changes.make(records.delete_user, user_id=user_id)
    return no_content()


def users_response(users: list[User]) -> UsersResponse:
    """A list of users."""
    return UsersResponse(users=[_user(user) for user in users], links=link("users"))


def _refuse_password(user: UserChanges) -> None:
    """Nothing here asks for a password; to store one would be a promise without meaning."""
    if user.password is not None:
        raise IamRequestInvalid(
            field="password", reason="users sign with access keys, leave it out"
        )


def _user(user: User) -> UserView:
    return UserView(
        id=user.id,
        name=user.name,
        domain_id=user.domain_id,
        description=user.description,
        email=user.email,
        enabled=user.enabled,
        status=0 if user.enabled else 1,
        create_time=microseconds(user.created_at),
        links=link("users", user.id),
    )
