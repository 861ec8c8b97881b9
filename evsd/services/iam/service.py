"""IAM: the records of identity, and who callers are by them."""

from __future__ import annotations

import structlog
from sqlalchemy import select

from evsd.key_channel.call import Call
from evsd.key_channel.operation import Ask
from evsd.service import Host, Service
from evsd.services.iam.agencies import AgencyService
from evsd.services.iam.authentication import Authenticator
from evsd.services.iam.failures import FailedAuthentications
from evsd.services.iam.groups import GroupService
from evsd.services.iam.operations import ChangeIdentity
from evsd.services.iam.principals import Directory
from evsd.services.iam.projects import ProjectService, ensure_default_domain, follow_region
from evsd.services.iam.tables import Domain, Project
from evsd.services.iam.unix_users import tell_useless
from evsd.services.iam.users import UserService, follow_settings
from evsd.store.database import Database

REGION = "local"

log = structlog.get_logger()


class IamService(Service):
    """Who exists, who is who, and who trusts whom. What changes that is in `changes`."""

    def __init__(self, host: Host) -> None:
        self.keys, self.region = host.keys, host.region
        self._database, self._unix_users = host.database, host.unix_users
        self.projects = ProjectService(host.database)
        self.users = UserService(host.database)
        self.groups = GroupService(host.database)
        self.agencies = AgencyService(host.database)
        self.directory = Directory(host.database, host.owners, host.unix_users)
        self._failures = FailedAuthentications(host.keys)
        self.gatekeeper = Authenticator(self.directory, host.keys, self._failures)
        self._default_domain_id = self._prepare_records()

    @property
    def unix_users(self) -> list[str]:
        """The Unix users that need a record in the default domain to hold their roles."""
        return sorted(self.directory.unix_users_by_role)

    def _prepare_records(self) -> str:
        """Make, at the first start, the default domain, and in it the Unix users with a role.

        The region may have another name than at the last start.
        """
        with self._database.transaction() as session:
            first = session.scalars(select(Domain.id)).first() is None
            default_domain_id = ensure_default_domain(session, self.region)
            follow_region(session, self.region)
            if first:
                follow_settings(session, default_domain_id, users=self.unix_users)
        return default_domain_id

    def prepare(self, ask: Ask) -> None:
        """Have the Unix users that the settings have gained or lost made or disabled, on record."""
        if not self.users.follows_settings(self._default_domain_id, self.unix_users):
            call = Call("evsd", self._default_domain_id, "", "settings", "start")
            ask(call, ChangeIdentity(follow_settings.__name__, {"users": self.unix_users}))
        self.directory.forget()  # the process before may have died between a change and its answer

    def warn(self) -> None:
        """Tell of Unix users of the settings that can do nothing."""
        tell_useless(self._unix_users, self.directory)

    def close(self) -> None:
        """Write down what is not on record yet."""
        self._failures.close()


def build(host: Host) -> IamService:
    """Its part in evsd."""
    return IamService(host)


def region_of(database: Database, wanted: str | None) -> str:
    """The region's name: as it is wanted, or as it was at the last start."""
    with database.reading() as session:
        before = session.scalars(select(Project.region)).first()
    region = wanted or before or REGION
    if before not in (None, region):
        log.warning("the region has another name", region=region, before=before)
    return region
