"""Who calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from evsd.policy import Roles

NO_ROLES: Roles = frozenset()
DEFAULT = "default"  # the domain, and its project, that evsd makes at its first start


@dataclass(frozen=True, slots=True)
class Principal:
    """A known caller. `roles` hold in the whole domain, `project_roles` in one project each.

    `id` is that of the user, or of the agency the caller acts as.
    """

    id: str
    name: str
    domain_id: str
    roles: Roles
    source: str
    project_roles: Mapping[str, Roles] = field(default_factory=dict)
    temporary: bool = False  # signed with temporary credentials, or has a token
    access: str = ""  # the access key it has signed with, or sent

    def roles_in(self, project_id: str) -> Roles:
        """The roles that count in a project; in the domain itself for an empty id."""
        return self.roles | self.project_roles.get(project_id, NO_ROLES)


@dataclass(frozen=True, slots=True)
class UnixUser:
    """Whom a Unix user acts as: a user of a domain, with these roles besides its groups'."""

    user: str
    domain: str = DEFAULT
    roles: Roles = NO_ROLES
