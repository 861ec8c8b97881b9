"""Identity as a whole: the records, and who callers are by them."""

from __future__ import annotations

from collections.abc import Mapping

import structlog
from sqlalchemy import select

from evsd.iam.agencies import AgencyService
from evsd.iam.groups import GroupService
from evsd.iam.principals import Directory, UnixUser
from evsd.iam.projects import ProjectService, ensure_default_domain, follow_region
from evsd.iam.users import UserService, follow_settings
from evsd.store.database import Database
from evsd.store.tables import Domain, Project

REGION = "local"

log = structlog.get_logger()


class IdentityService:
    """Who exists, who is who, and who trusts whom. What changes that is in `evsd.iam.changes`."""

    def __init__(
        self,
        database: Database,
        region: str | None,
        owners: frozenset[int],
        unix_users: Mapping[str, UnixUser],
    ) -> None:
        """`region` is its name; the one at the last start if None."""
        self._database, self._wanted_region = database, region
        self.projects = ProjectService(database)
        self.users = UserService(database)
        self.groups = GroupService(database)
        self.agencies = AgencyService(database)
        self.directory = Directory(database, owners, unix_users)
        self.default_domain_id = self.region = ""

    @property
    def unix_users(self) -> list[str]:
        """The Unix users that need a record in the default domain to hold their roles."""
        return sorted(self.directory.unix_users_by_role)

    def prepare(self) -> None:
        """Make, at the first start, the default domain, and in it the Unix users with a role.

        The region may have another name than at the last start.
        """
        with self._database.transaction() as session:
            first = session.scalars(select(Domain.id)).first() is None
            before = session.scalars(select(Project.region)).first()
            self.region = self._wanted_region or before or REGION
            self.default_domain_id = ensure_default_domain(session, self.region)
            follow_region(session, self.region)
            if first:
                follow_settings(session, self.default_domain_id, users=self.unix_users)
        if before not in (None, self.region):
            log.warning("the region has another name", region=self.region, before=before)

    def follows_settings(self) -> bool:
        """Whether the records of Unix users are as the settings want them."""
        return self.users.follows_settings(self.default_domain_id, self.unix_users)
