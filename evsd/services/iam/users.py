"""Users of a domain."""

from __future__ import annotations

import uuid

from sqlalchemy import select
from sqlalchemy.orm import Session

from evsd.principal import Principal
from evsd.services.iam.changes import Facts, change
from evsd.services.iam.errors import UserFixed
from evsd.services.iam.records import find, flush
from evsd.services.iam.tables import User
from evsd.store.database import Database, utcnow


class UserService:
    """Who belongs to a domain. Roles come by groups; Unix users' records follow the settings."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def follows_settings(self, domain_id: str, names: list[str]) -> bool:
        """Whether the Unix users of this domain are as the settings want them."""
        with self._database.reading() as session:
            return not any(_unlike_settings(session, domain_id, names))

    def users(
        self, principal: Principal, name: str | None = None, enabled: bool | None = None
    ) -> list[User]:
        """The users of the caller's domain."""
        query = select(User).where(User.domain_id == principal.domain_id)
        if name is not None:
            query = query.where(User.name == name)
        if enabled is not None:
            query = query.where(User.enabled == enabled)
        with self._database.reading() as session:
            return list(session.scalars(query.order_by(User.name)))

    def user(self, principal: Principal, user_id: str) -> User:
        """One user; raises `IamNotFound`."""
        with self._database.reading() as session:
            return find(session, User, user_id, principal.domain_id)


@change
def follow_settings(session: Session, domain_id: str, *, users: list[str]) -> Facts:
    """Give each Unix user a record in this domain; disable those no longer in the settings."""
    wrong, missing = _unlike_settings(session, domain_id, users)
    for user in wrong:
        user.enabled = not user.enabled
    session.add_all(_new(domain_id, name, from_settings=True) for name in missing)
    return {
        "enabled": ", ".join([user.name for user in wrong if user.enabled] + missing),
        "disabled": ", ".join(user.name for user in wrong if not user.enabled),
    }


@change
def create_user(
    session: Session, domain_id: str, *, name: str, description: str, email: str, enabled: bool
) -> Facts:
    """A user without any role yet; raises `IamExists`."""
    user = _new(domain_id, name, description=description, email=email, enabled=enabled)
    session.add(user)
    flush(session, "user", name)
    return {"user_id": user.id}


@change
def update_user(session: Session, domain_id: str, *, user_id: str, **values: str | bool) -> Facts:
    """Change name, description, email or enabled; a disabled user's access keys stop at once.

    Raises `IamNotFound`, `IamExists`, `UserFixed`.
    """
    user = find(session, User, user_id, domain_id)
    if user.from_settings:
        raise UserFixed(name=user.name)
    before = user.name
    for name, value in values.items():
        setattr(user, name, value)
    flush(session, "user", user.name)
    return {"user": before}


@change
def delete_user(session: Session, domain_id: str, *, user_id: str) -> Facts:
    """Remove a user with its access keys and memberships.

    Raises `IamNotFound`, `UserFixed`.
    """
    user = find(session, User, user_id, domain_id)
    if user.from_settings and user.enabled:
        raise UserFixed(name=user.name)
    session.delete(user)
    return {"user": user.name}


def _unlike_settings(
    session: Session, domain_id: str, names: list[str]
) -> tuple[list[User], list[str]]:
    """The users the settings want otherwise, and the names for which there is none."""
    there = session.scalars(select(User).where(User.domain_id == domain_id)).all()
    wrong = [user for user in there if user.from_settings and user.enabled != (user.name in names)]
    return wrong, sorted(set(names) - {user.name for user in there})


def _new(domain_id: str, name: str, **fields: str | bool) -> User:
    return User(
        id=uuid.uuid4().hex,
        domain_id=domain_id,
        name=name,
        created_at=utcnow(),
        **{"description": "", "email": "", "enabled": True, "from_settings": False, **fields},
    )
