"""Groups: users join them, and they hold roles in the domain or in a project."""

from __future__ import annotations

import uuid

from sqlalchemy import select
from sqlalchemy.orm import Session

from evsd.policy import given_roles
from evsd.principal import Principal
from evsd.services.iam.changes import Facts, change
from evsd.services.iam.errors import IamNotFound
from evsd.services.iam.records import find, flush
from evsd.services.iam.tables import Group, GroupMember, GroupRole, Project, User
from evsd.store.database import Database, utcnow


class GroupService:
    """The groups of a domain, who is in them and what they may do."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def groups(
        self, principal: Principal, name: str | None = None, user_id: str | None = None
    ) -> list[Group]:
        """The groups of the caller's domain; those of one user if `user_id` is given."""
        query = select(Group).where(Group.domain_id == principal.domain_id)
        if name is not None:
            query = query.where(Group.name == name)
        if user_id is not None:
            query = query.join(GroupMember).where(GroupMember.user_id == user_id)
        with self._database.reading() as session:
            return list(session.scalars(query.order_by(Group.name)))

    def group(self, principal: Principal, group_id: str) -> Group:
        """One group; raises `IamNotFound`."""
        with self._database.reading() as session:
            return find(session, Group, group_id, principal.domain_id)

    # --- members -------------------------------------------------------------------------------

    def members(self, principal: Principal, group_id: str) -> list[User]:
        """The users in a group."""
        with self._database.reading() as session:
            group = find(session, Group, group_id, principal.domain_id)
            query = select(User).join(GroupMember).where(GroupMember.group_id == group.id)
            return list(session.scalars(query.order_by(User.name)))

    def require_member(self, principal: Principal, group_id: str, user_id: str) -> None:
        """Raise `IamNotFound` unless the user is in the group."""
        with self._database.reading() as session:
            find(session, Group, group_id, principal.domain_id)
            if session.get(GroupMember, (group_id, user_id)) is None:
                raise IamNotFound(what="user", name=user_id)

    # --- roles; the target is the domain or one of its projects --------------------------------

    def roles(self, principal: Principal, group_id: str, target_id: str) -> list[str]:
        """The ids of a group's roles for the domain, or for one project."""
        with self._database.reading() as session:
            group = find(session, Group, group_id, principal.domain_id)
            query = select(GroupRole.role_id).where(
                GroupRole.group_id == group.id, GroupRole.target_id == target_id
            )
            return list(session.scalars(query.order_by(GroupRole.role_id)))

    def require_role(
        self, principal: Principal, group_id: str, target_id: str, role_id: str
    ) -> None:
        """Raise `IamNotFound` unless the group has the role."""
        if role_id not in self.roles(principal, group_id, target_id):
            raise IamNotFound(what="role", name=role_id)


@change
def create_group(session: Session, domain_id: str, *, name: str, description: str) -> Facts:
    """A group without members or roles; raises `IamExists`."""
    group = Group(
        id=uuid.uuid4().hex,
        domain_id=domain_id,
        name=name,
        description=description,
        created_at=utcnow(),
    )
    session.add(group)
    flush(session, "group", name)
    return {"group_id": group.id}


@change
def delete_group(session: Session, domain_id: str, *, group_id: str) -> Facts:
    """Remove a group; its members lose its roles at once."""
    group = find(session, Group, group_id, domain_id)
    session.delete(group)
    return {"group": group.name}


@change
def add_member(session: Session, domain_id: str, *, group_id: str, user_id: str) -> Facts:
    """Put a user in a group; once is enough."""
    group = find(session, Group, group_id, domain_id)
    user = find(session, User, user_id, domain_id)
    session.merge(GroupMember(group_id=group.id, user_id=user.id))
    return {"group": group.name, "user": user.name}


@change
def remove_member(session: Session, domain_id: str, *, group_id: str, user_id: str) -> Facts:
    """Take a user out of a group; raises `IamNotFound` if it is not in it."""
    group = find(session, Group, group_id, domain_id)
    member = session.get(GroupMember, (group_id, user_id))
    if member is None:
        raise IamNotFound(what="user", name=user_id)
    session.delete(member)
    return {"group": group.name, "user": session.get_one(User, user_id).name}


@change
def grant_group_role(
    session: Session, domain_id: str, *, group_id: str, target_id: str, role_id: str
) -> Facts:
    """Give a group a role; once is enough. Raises `IamNotFound`."""
    if role_id not in given_roles():
        raise IamNotFound(what="role", name=role_id)
    group = find(session, Group, group_id, domain_id)
    if target_id != domain_id:
        find(session, Project, target_id, domain_id)
    session.merge(GroupRole(group_id=group.id, target_id=target_id, role_id=role_id))
    return {"group": group.name}


@change
def revoke_group_role(
    session: Session, domain_id: str, *, group_id: str, target_id: str, role_id: str
) -> Facts:
    """Take a role back; raises `IamNotFound` if the group doesn't have it."""
    group = find(session, Group, group_id, domain_id)
    granted = session.get(GroupRole, (group_id, target_id, role_id))
    if granted is None:
        raise IamNotFound(what="role", name=role_id)
    session.delete(granted)
    return {"group": group.name}
