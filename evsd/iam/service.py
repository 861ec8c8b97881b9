"""Domains, projects and agencies: the records of identity."""

from __future__ import annotations

import uuid

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from evsd.errors import IamBadRequest, IamConflict, IamNotFound
from evsd.iam.policy import KMS_ADMINISTRATOR, VOLUME_SERVICE
from evsd.iam.principals import Principal
from evsd.store.database import Database, utcnow
from evsd.store.tables import Agency, AgencyRole, Domain, Project

DEFAULT = "default"
ROLES = {KMS_ADMINISTRATOR: "KMS Administrator"}


class IdentityService:
    """Who exists, and who trusts whom."""

    def __init__(self, database: Database, region: str) -> None:
        self._database, self._region = database, region

    def ensure_default_domain(self) -> str:
        """Make the domain and the project `default` at the first start; returns the domain's id."""
        with self._database.transaction() as session:
            domain = session.scalars(select(Domain).where(Domain.name == DEFAULT)).first()
            if domain is None:
                domain = Domain(id=uuid.uuid4().hex, name=DEFAULT)
                session.add(domain)
                session.flush()
                session.add(
                    Project(
                        id=uuid.uuid4().hex,
                        domain_id=domain.id,
                        name=DEFAULT,
                        region=self._region,
                    )
                )
            return domain.id

    def domain(self, principal: Principal) -> Domain:
        """The caller's domain."""
        with self._database.reading() as session:
            return session.get_one(Domain, principal.domain_id)

    def projects(self, principal: Principal, name: str | None = None) -> list[Project]:
        """The projects of the caller's domain."""
        query = select(Project).where(Project.domain_id == principal.domain_id)
        if name is not None:
            query = query.where(Project.name == name)
        with self._database.reading() as session:
            return list(session.scalars(query.order_by(Project.name)))

    def has_project(self, principal: Principal, project_id: str) -> bool:
        """Whether the project is one of the caller's domain."""
        with self._database.reading() as session:
            project = session.get(Project, project_id)
        return project is not None and project.domain_id == principal.domain_id

    # --- agencies ------------------------------------------------------------------------------

    def create_agency(
        self, principal: Principal, name: str, trust_domain_name: str, description: str
    ) -> Agency:
        """Trust another domain; it may do nothing before a role is granted for a project."""
        if trust_domain_name != VOLUME_SERVICE:
            raise IamBadRequest(
                field="trust_domain_name", reason=f"only {VOLUME_SERVICE} can be trusted yet"
            )
        agency = Agency(
            id=uuid.uuid4().hex,
            domain_id=principal.domain_id,
            name=name,
            trust_domain_name=trust_domain_name,
            description=description,
            created_at=utcnow(),
        )
        with self._database.transaction() as session:
            session.add(agency)
            try:
                session.flush()
            except IntegrityError as error:
                raise IamConflict(what="agency", name=name) from error
        return agency

    def agencies(self, principal: Principal) -> list[Agency]:
        """The agencies of the caller's domain."""
        query = select(Agency).where(Agency.domain_id == principal.domain_id)
        with self._database.reading() as session:
            return list(session.scalars(query.order_by(Agency.name)))

    def agency(self, principal: Principal, agency_id: str) -> Agency:
        """One agency; raises `IamNotFound`, for a foreign one too."""
        with self._database.reading() as session:
            return _find(session, principal, agency_id)

    def delete_agency(self, principal: Principal, agency_id: str) -> None:
        """End the trust, in all projects."""
        with self._database.transaction() as session:
            session.delete(_find(session, principal, agency_id))

    def agency_roles(self, principal: Principal, agency_id: str, project_id: str) -> list[str]:
        """The ids of the roles an agency has in a project."""
        with self._database.reading() as session:
            agency = _find(session, principal, agency_id)
            query = select(AgencyRole.role_id).where(
                AgencyRole.agency_id == agency.id, AgencyRole.project_id == project_id
            )
            return list(session.scalars(query))

    def grant(self, principal: Principal, agency_id: str, project_id: str, role_id: str) -> None:
        """Give an agency a role in a project; one agency of a service per project."""
        if role_id not in ROLES:
            raise IamNotFound(what="role", name=role_id)
        with self._database.transaction() as session:
            agency = _find(session, principal, agency_id)
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
                raise IamConflict(what="for this project, agency", name=other)
            session.merge(AgencyRole(agency_id=agency.id, project_id=project_id, role_id=role_id))

    def revoke(self, principal: Principal, agency_id: str, project_id: str, role_id: str) -> None:
        """Take the role back: no new data keys and no new attaches from now on."""
        with self._database.transaction() as session:
            agency = _find(session, principal, agency_id)
            granted = session.get(AgencyRole, (agency.id, project_id, role_id))
            if granted is None:
                raise IamNotFound(what="role", name=role_id)
            session.delete(granted)


def _find(session: Session, principal: Principal, agency_id: str) -> Agency:
    agency = session.get(Agency, agency_id)
    if agency is None or agency.domain_id != principal.domain_id:
        raise IamNotFound(what="agency", name=agency_id)
    return agency
