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
        self._domain_id, self._owners = domain_id, owners
        self._users = {pwd.getpwnam(name).pw_uid: role for name, role in users.items()}

    def principal(self, uid: int) -> Principal | None:
        """Who this uid is, or None if the table doesn't know it."""
        if uid in self._owners:
            roles = ADMINISTRATOR
        elif uid in self._users:
            roles = frozenset({self._users[uid]})
        else:
            return None
        return Principal(_name(uid), self._domain_id, roles, f"uid:{uid}")


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid-{uid}"
