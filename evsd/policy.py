"""What a role and a permission is, and who may do what. What no service's policy lists is denied.

Each service declares its own permissions, and who has them, in its `permissions` module.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache


@dataclass(frozen=True, slots=True, order=True)
class Role:
    """A role. Groups hold roles, for a domain with all its projects or for one project."""

    name: str
    id: str = ""  # as published; what has none nobody can be given

    def __str__(self) -> str:
        """The name, as messages have it."""
        return self.name


SECURITY_ADMINISTRATOR = Role("Security Administrator", "secu_admin")
TENANT_ADMINISTRATOR = Role("Tenant Administrator", "te_admin")
USER = Role("ordinary user", "user")
READ_ONLY = Role("read-only", "readonly")
# Root and the user that started evsd have it, on the unix socket.
OPERATOR = Role("operator")
NO_ROLE = Role("no role")
# Stands in a policy for each role that can be given, whichever service declares it.
ANY_ROLE = Role("any role")

Roles = frozenset[Role]

SECURITY: Roles = frozenset({SECURITY_ADMINISTRATOR})
READERS: Roles = frozenset({ANY_ROLE})
ONLY_OPERATOR: Roles = frozenset({OPERATOR})
# Known callers without any role too, for it concerns nobody but themselves.
EVERY_CALLER: Roles = frozenset({ANY_ROLE, OPERATOR, NO_ROLE})


class Permission(StrEnum):
    """What a route needs; each route names one. A service's own are an enumeration of this kind."""


_policy: dict[Permission, Roles] = {}
_audited: set[Permission] = set()
_grantable: set[Permission] = set()
_service_domains: list[str] = []
# Roles that are no one service's.
COMMON = (SECURITY_ADMINISTRATOR, TENANT_ADMINISTRATOR, USER, READ_ONLY)
_given: dict[str, Role] = {role.id: role for role in COMMON}


def declare(
    policy: Mapping[Permission, Roles],
    *,
    roles: Iterable[Role] = (),
    audited: Iterable[Permission] = (),
    grantable: Iterable[Permission] = (),
    domain: str | None = None,
) -> None:
    """Enter a service's permissions with who has them, and the roles that are its own.

    Of the `audited` every refusal is recorded. What is `grantable` is allowed without a role too,
    where the thing that a request is about says so. `domain` is the published name of the domain
    that tenants trust when they let the service act for them; it has no record.
    """
    twice = policy.keys() & _policy.keys()
    if twice:
        raise ValueError(f"declared twice: {', '.join(sorted(twice))}")
    _policy.update(policy)
    _audited.update(audited)
    _grantable.update(grantable)
    _given.update({role.id: role for role in roles})
    holders.cache_clear()
    if domain is not None:
        _service_domains.append(domain)


def given_roles() -> Mapping[str, Role]:
    """The roles that groups, agencies and Unix users can be given, by their ids."""
    return _given


def service_domains() -> Sequence[str]:
    """The domains of services that tenants can trust, in the order of the services."""
    return _service_domains


def permissions() -> Iterable[Permission]:
    """The permissions of all services."""
    return _policy


def is_audited(permission: Permission) -> bool:
    """Whether every refusal of it is recorded."""
    return permission in _audited


def is_grantable(permission: Permission) -> bool:
    """Whether it can be had without a role, for one thing."""
    return permission in _grantable


@cache  # each request asks
def holders(permission: Permission) -> Roles:
    """The roles that have a permission; `NO_ROLE` is one where none is needed."""
    roles = _policy.get(permission, frozenset())
    return (roles - {ANY_ROLE}) | frozenset(_given.values() if ANY_ROLE in roles else ())


def allowed(permission: Permission, roles: Roles) -> bool:
    """Whether a known caller with these roles has the permission."""
    return not holders(permission).isdisjoint({NO_ROLE, *roles})


def roles_with(permission: Permission) -> str:
    """The roles to ask, for messages."""
    return ", ".join(sorted(role.name for role in holders(permission) - {NO_ROLE}))


def permissions_of(role: Role) -> list[Permission]:
    """What a role allows."""
    return [permission for permission in _policy if role in holders(permission)]
