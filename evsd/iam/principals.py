"""Callers: which principal a Unix user is."""

from __future__ import annotations

import pwd
from collections.abc import Mapping
from dataclasses import dataclass

from evsd.iam.policy import Role


@dataclass(frozen=True, slots=True)
class Principal:
    """A known caller."""

    name: str
    domain_id: str
    roles: frozenset[Role]
    source: str


ADMINISTRATOR = frozenset({Role.SECURITY_ADMINISTRATOR, Role.TENANT_ADMINISTRATOR})


class UnixUsers:
    """Principals of callers on the unix socket, by the uid the kernel vouches for.

    Root and the user that started evsd administer the default domain; the settings may name other
    users and their role; everybody else is nobody.
    """

    def __init__(self, domain_id: str, owners: frozenset[int], users: Mapping[str, Role]) -> None:
        self._domain_id = domain_id
        self._roles = {_name(uid): ADMINISTRATOR for uid in owners}
        for name, role in users.items():
            self._roles.setdefault(name, frozenset({role}))

    def principal(self, uid: int) -> Principal | None:
        """Who this uid is, or None if the table doesn't know it."""
        return self.named(_name(uid), f"uid:{uid}")

    def named(self, name: str, source: str) -> Principal | None:
        """The principal of this name, with the roles it has now."""
        roles = self._roles.get(name)
        return None if roles is None else Principal(name, self._domain_id, roles, source)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid-{uid}"
