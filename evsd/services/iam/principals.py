"""Callers: which principal a Unix user, or the user of an access key, is at this moment."""

from __future__ import annotations

import pwd
from collections.abc import Iterable, Mapping
from dataclasses import replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from evsd.policy import OPERATOR, SECURITY_ADMINISTRATOR, TENANT_ADMINISTRATOR, Roles, given_roles
from evsd.principal import DEFAULT, NO_ROLES, Principal, UnixUser
from evsd.services.iam.tables import (
    Agency,
    AgencyRole,
    Domain,
    GroupMember,
    GroupRole,
    Project,
    User,
)
from evsd.store.cache import Cache
from evsd.store.database import Database, utcnow

ADMINISTRATOR = frozenset({SECURITY_ADMINISTRATOR, TENANT_ADMINISTRATOR})
ID_LENGTH = 64


class Directory:
    """Who a caller is and what roles it has now.

    Root and the user that started evsd administer the default domain; the settings map other Unix
    users to a role there or to a user of any domain; everybody else on the socket is nobody.
    """

    def __init__(
        self, database: Database, owners: frozenset[int], users: Mapping[str, UnixUser]
    ) -> None:
        self._database = database
        # Each request asks these; a change of any record here is seen at the next one.
        self._user = Cache(database, _load)
        self._user_id = Cache(database, _named)
        self._domain_id = Cache(database, _domain_named)
        self._domain_of = Cache(database, _domain_of)
        self._default_of = Cache(database, _default_of)
        self._owners = {_name(uid): UnixUser(_name(uid), roles=ADMINISTRATOR) for uid in owners}
        self._unix = {**users, **self._owners}

    @property
    def unix_users_by_role(self) -> frozenset[str]:
        """The Unix users that need a record in the default domain to hold their roles."""
        return frozenset(mapped.user for mapped in self._unix.values() if mapped.roles)

    def forget(self) -> None:
        """Read the records anew: another process has changed some."""
        self._database.written_elsewhere()

    def unix_user(self, uid: int) -> Principal | None:
        """Who this uid is, or None if nobody knows it."""
        mapped = self._unix.get(_name(uid))
        if mapped is None:
            return None
        user_id = self._user_id((mapped.domain, mapped.user))
        found = None if user_id is None else self.signer(user_id, f"uid:{uid}")
        if found is None or mapped is not self._owners.get(mapped.user):
            return found
        return replace(found, roles=found.roles | {OPERATOR})

    def what_is_missing(self, mapped: UnixUser) -> str:
        """Why nobody can act as this user now; empty where somebody can."""
        if self._domain_id(mapped.domain) is None:
            return f"there is no domain {mapped.domain}"
        user_id = self._user_id((mapped.domain, mapped.user))
        if user_id is None:
            return f"there is no user {mapped.user} in domain {mapped.domain}"
        disabled = self._user(user_id) is None
        return f"user {mapped.user} of domain {mapped.domain} is disabled" if disabled else ""

    def signer(self, user_id: str, source: str, *, temporary: bool = False) -> Principal | None:
        """The user of an access key, with the roles it has now; None if it may not act any more.

        A Unix user's roles count here too; to be the operator takes the socket.
        """
        found = self._user(user_id)
        if found is None:
            return None
        by_default = found.domain_id == self._domain_id(DEFAULT)
        mapped = self._of_settings(found.name) if by_default else NO_ROLES
        return replace(found, roles=found.roles | mapped, source=source, temporary=temporary)

    def agent(self, user_id: str, agency_id: str, source: str) -> Principal | None:
        """A user of a trusted domain who has assumed an agency; None once the trust has ended."""
        user = self._user(user_id)
        if user is None:
            return None
        with self._database.reading() as session:
            agency = session.get(Agency, agency_id)
            if agency is None or (agency.expires_at is not None and agency.expires_at <= utcnow()):
                return None
            home = session.get_one(Domain, user.domain_id)
            if home.name != agency.trust_domain_name:
                return None
            query = select(AgencyRole).where(AgencyRole.agency_id == agency_id)
            roles = _by_target((row.project_id, row.role_id) for row in session.scalars(query))
        return Principal(
            id=agency.id,
            name=f"{agency.name} ({user.name} of {home.name})",
            domain_id=agency.domain_id,
            roles=NO_ROLES,
            source=source,
            project_roles=roles,
            temporary=True,
        )

    def has_project(self, principal: Principal, project_id: str) -> bool:
        """Whether the project is one of the caller's domain."""
        # Whatever stands in a path is remembered, so it must be short.
        return len(project_id) <= ID_LENGTH and self._domain_of(project_id) == principal.domain_id

    def default_project(self, principal: Principal) -> str:
        """The id of the project that a domain has from its first day, or "" if it has no more."""
        return self._default_of(principal.domain_id) or ""

    def _of_settings(self, name: str) -> Roles:
        """What roles the settings, or having started evsd, give to a user of the default domain."""
        given = [mapped.roles for mapped in self._unix.values() if mapped.user == name]
        return NO_ROLES.union(*given)


def _load(session: Session, user_id: str) -> Principal | None:
    user = session.get(User, user_id)
    if user is None or not user.enabled:
        return None
    query = select(GroupRole.target_id, GroupRole.role_id).join(
        GroupMember, GroupMember.group_id == GroupRole.group_id
    )
    rows = session.execute(query.where(GroupMember.user_id == user_id)).tuples()
    roles = _by_target(rows)
    return Principal(
        id=user.id,
        name=user.name,
        domain_id=user.domain_id,
        roles=roles.pop(user.domain_id, NO_ROLES),
        source="",
        project_roles=roles,
    )


def _by_target(rows: Iterable[tuple[str, str]]) -> dict[str, Roles]:
    found: dict[str, Roles] = {}
    for target_id, role_id in rows:
        found[target_id] = found.get(target_id, NO_ROLES) | {given_roles()[role_id]}
    return found


def _named(session: Session, names: tuple[str, str]) -> str | None:
    domain, user = names
    query = select(User.id).join(Domain).where(Domain.name == domain, User.name == user)
    return session.scalars(query).first()


def _domain_named(session: Session, name: str) -> str | None:
    return session.scalars(select(Domain.id).where(Domain.name == name)).first()


def _default_of(session: Session, domain_id: str) -> str | None:
    query = select(Project.id).where(Project.domain_id == domain_id, Project.name == DEFAULT)
    return session.scalars(query).first()


def _domain_of(session: Session, project_id: str) -> str | None:
    project = session.get(Project, project_id)
    return None if project is None else project.domain_id


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid-{uid}"
