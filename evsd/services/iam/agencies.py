"""Agencies: a tenant trusts another domain, or a service, with roles in its projects."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from evsd.policy import given_roles, service_domains
from evsd.principal import Principal
from evsd.services.iam.changes import Facts, change
from evsd.services.iam.errors import IamExists, IamNotFound
from evsd.services.iam.records import find, flush
from evsd.services.iam.tables import Agency, AgencyRole, Domain
from evsd.store.database import Database, utcnow


def delegated(session: Session, project_id: str, domain_name: str, role_id: str) -> bool:
    """Whether the domain of this name is trusted with a role in this project now."""
    query = (
        select(AgencyRole.agency_id)
        .join(Agency)
        .where(
            AgencyRole.project_id == project_id,
            AgencyRole.role_id == role_id,
            Agency.trust_domain_name == domain_name,
            _in_force(),
        )
    )
    return session.scalars(query).first() is not None


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom an agency trusts; a domain is known by its name, its id or both."""

    domain_name: str | None
    domain_id: str | None


NOBODY = Trust(None, None)


class AgencyService:
    """Who trusts whom."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def agencies(
        self, principal: Principal, name: str | None = None, trust_domain_id: str | None = None
    ) -> list[Agency]:
        """The agencies of the caller's domain."""
        query = select(Agency).where(Agency.domain_id == principal.domain_id)
        if name is not None:
            query = query.where(Agency.name == name)
        with self._database.reading() as session:
            if trust_domain_id is not None:
                query = query.where(
                    Agency.trust_domain_name == _trusted(session, Trust(None, trust_domain_id))
                )
            return list(session.scalars(query.order_by(Agency.name)))

    def agency(self, principal: Principal, agency_id: str) -> Agency:
        """One agency; raises `IamNotFound`."""
        with self._database.reading() as session:
            return find(session, Agency, agency_id, principal.domain_id)

    def trusted_domain_id(self, agency: Agency) -> str:
        """The id of the domain an agency trusts; a service's is its name."""
        with self._database.reading() as session:
            query = select(Domain.id).where(Domain.name == agency.trust_domain_name)
            return session.scalars(query).first() or agency.trust_domain_name

    # --- roles in projects ---------------------------------------------------------------------

    def roles(self, principal: Principal, agency_id: str, project_id: str) -> list[str]:
        """The ids of the roles an agency has in a project."""
        with self._database.reading() as session:
            agency = find(session, Agency, agency_id, principal.domain_id)
            return [r.role_id for r in _roles(session, agency.id) if r.project_id == project_id]

    def require_role(
        self, principal: Principal, agency_id: str, project_id: str, role_id: str
    ) -> None:
        """Raise `IamNotFound` unless the agency has the role."""
        if role_id not in self.roles(principal, agency_id, project_id):
            raise IamNotFound(what="role", name=role_id)

    # --- the other side ------------------------------------------------------------------------

    def assumable(
        self, principal: Principal, name: str, domain_name: str | None, domain_id: str | None
    ) -> Agency:
        """Another domain's agency that trusts the caller's; whatever is wrong, it isn't there."""
        query = (
            select(Agency)
            .join(Domain)
            .where(
                Agency.name == name,
                Agency.trust_domain_name
                == select(Domain.name).where(Domain.id == principal.domain_id).scalar_subquery(),
                _in_force(),
            )
        )
        if domain_name is not None:
            query = query.where(Domain.name == domain_name)
        if domain_id is not None:
            query = query.where(Domain.id == domain_id)
        with self._database.reading() as session:
            agency = session.scalars(query).first()
        if agency is None:
            raise IamNotFound(what="agency", name=name)
        return agency


@change
def create_agency(
    session: Session,
    domain_id: str,
    *,
    name: str,
    trust_domain_name: str | None,
    trust_domain_id: str | None,
    description: str,
    days: int,
) -> Facts:
    """Trust another domain, for ever with 0 `days`; it may do nothing before it has a role."""
    now = utcnow()
    agency = Agency(
        id=uuid.uuid4().hex,
        domain_id=domain_id,
        name=name,
        trust_domain_name=_trusted(session, Trust(trust_domain_name, trust_domain_id)),
        description=description,
        created_at=now,
        expires_at=_end(now, days),
    )
    session.add(agency)
    flush(session, "agency", name)
    return {"agency_id": agency.id, "trust_domain_name": agency.trust_domain_name}


@change
def update_agency(
    session: Session,
    domain_id: str,
    *,
    agency_id: str,
    trust_domain_name: str | None,
    trust_domain_id: str | None,
    description: str | None,
    days: int | None,
) -> Facts:
    """Change what is given; `days` count from now, 0 is for ever.

    Raises `IamNotFound`, `IamExists`.
    """
    agency = find(session, Agency, agency_id, domain_id)
    trust = Trust(trust_domain_name, trust_domain_id)
    if trust != NOBODY:
        agency.trust_domain_name = _trusted(session, trust)
        for role in _roles(session, agency.id):
            _only_delegate(session, agency, role.project_id)
    if description is not None:
        agency.description = description
    if days is not None:
        agency.expires_at = _end(utcnow(), days)
    return _named(agency)


@change
def delete_agency(session: Session, domain_id: str, *, agency_id: str) -> Facts:
    """End the trust, in all projects, and for everybody who has assumed it."""
    agency = find(session, Agency, agency_id, domain_id)
    session.delete(agency)
    return _named(agency)


@change
def grant_agency_role(
    session: Session, domain_id: str, *, agency_id: str, project_id: str, role_id: str
) -> Facts:
    """Give an agency a role in a project; a service has one agency there at most."""
    if role_id not in given_roles():
        raise IamNotFound(what="role", name=role_id)
    agency = find(session, Agency, agency_id, domain_id)
    _only_delegate(session, agency, project_id)
    session.merge(AgencyRole(agency_id=agency.id, project_id=project_id, role_id=role_id))
    return _named(agency)


@change
def revoke_agency_role(
    session: Session, domain_id: str, *, agency_id: str, project_id: str, role_id: str
) -> Facts:
    """Take the role back: no new data keys and no new attaches from now on."""
    agency = find(session, Agency, agency_id, domain_id)
    granted = session.get(AgencyRole, (agency.id, project_id, role_id))
    if granted is None:
        raise IamNotFound(what="role", name=role_id)
    session.delete(granted)
    return _named(agency)


def _named(agency: Agency) -> Facts:
    """An agency as a record of the log names it."""
    return {"agency": agency.name, "trust_domain_name": agency.trust_domain_name}


def _in_force() -> ColumnElement[bool]:
    return or_(Agency.expires_at.is_(None), Agency.expires_at > utcnow())


def _trusted(session: Session, trust: Trust) -> str:
    """The name of the trusted domain; raises `IamNotFound`."""
    for service in service_domains():
        if service in (trust.domain_name, trust.domain_id):
            return service
    query = select(Domain.name)
    if trust.domain_name is not None:
        query = query.where(Domain.name == trust.domain_name)
    if trust.domain_id is not None:
        query = query.where(Domain.id == trust.domain_id)
    name = session.scalars(query).first()
    if name is None:
        raise IamNotFound(what="domain", name=trust.domain_name or trust.domain_id)
    return name


def _only_delegate(session: Session, agency: Agency, project_id: str) -> None:
    """Two agencies for one service in one project: revoking one would revoke nothing."""
    if agency.trust_domain_name not in service_domains():
        return
    query = (
        select(Agency.name)
        .join(AgencyRole)
        .where(
            AgencyRole.project_id == project_id,
            Agency.trust_domain_name == agency.trust_domain_name,
            Agency.id != agency.id,
        )
    )
    other = session.scalars(query).first()
    if other is not None:
        raise IamExists(what="for this project, agency", name=other)


def _roles(session: Session, agency_id: str) -> list[AgencyRole]:
    query = select(AgencyRole).where(AgencyRole.agency_id == agency_id)
    return list(session.scalars(query.order_by(AgencyRole.role_id)))


def _end(start: datetime, days: int) -> datetime | None:
    return start + timedelta(days=days) if days else None
