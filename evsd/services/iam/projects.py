"""Domains (tenants) and their projects."""

from __future__ import annotations

import uuid

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from evsd.policy import service_domains
from evsd.principal import DEFAULT, Principal
from evsd.services.iam.changes import Facts, change
from evsd.services.iam.errors import IamExists, IamRequestInvalid
from evsd.services.iam.records import find, flush
from evsd.services.iam.tables import Domain, Group, GroupMember, GroupRole, Project, User
from evsd.store.database import Database, utcnow

PROJECT_QUOTA = 100  # below a domain, and below a project
ADMINISTRATORS = "admin"
ADMINISTRATORS_ROLES = ("secu_admin", "te_admin")


class ProjectService:
    """Which tenants there are, and which projects they have."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- domains -------------------------------------------------------------------------------

    def domain(self, principal: Principal) -> Domain:
        """The caller's domain."""
        with self._database.reading() as session:
            return session.get_one(Domain, principal.domain_id)

    def domains(self) -> list[Domain]:
        """All domains, for the operator."""
        with self._database.reading() as session:
            return list(session.scalars(select(Domain).order_by(Domain.name)))

    # --- projects ------------------------------------------------------------------------------

    def projects(self, principal: Principal) -> list[Project]:
        """The projects in which the caller has a role."""
        query = select(Project).where(Project.domain_id == principal.domain_id)
        with self._database.reading() as session:
            found = session.scalars(query.order_by(Project.name))
            return [project for project in found if principal.roles_in(project.id)]

    def projects_named(self, principal: Principal, name: str, region: str) -> list[Project]:
        """The caller's project of this name; by the region's, also the one that is its default.

        In the cloud each region has a project of its own name, and the SDKs ask for it where they
        are given no project. Whoever has several and not `default` must choose one: it gets all.
        """
        mine = self.projects(principal)
        named = [project for project in mine if project.name == name]
        if named or name != region:
            return named
        return [project for project in mine if project.name == DEFAULT] or mine

    def project(self, principal: Principal, project_id: str) -> Project:
        """One project; raises `IamNotFound`."""
        with self._database.reading() as session:
            return find(session, Project, project_id, principal.domain_id)

    def children(self, principal: Principal, project_id: str) -> int:
        """How many projects are directly below one."""
        with self._database.reading() as session:
            find(session, Project, project_id, principal.domain_id)
            return _children(session, principal.domain_id, project_id)


def ensure_default_domain(session: Session, region: str) -> str:
    """Make the domain and the project `default` at the first start; returns the domain's id."""
    domain = session.scalars(select(Domain).where(Domain.name == DEFAULT)).first()
    return (domain or _new_domain(session, DEFAULT, region)).id


def names_of(session: Session, project_id: str) -> tuple[str, str]:
    """The names of a project and of its domain, for messages."""
    project = session.get_one(Project, project_id)
    return project.name, session.get_one(Domain, project.domain_id).name


def follow_region(session: Session, region: str) -> None:
    """Give all projects the name that the region, the only one, has now."""
    session.execute(update(Project).where(Project.region != region).values(region=region))


@change
def create_domain(
    session: Session, _domain_id: str, *, name: str, administrator: str, region: str
) -> Facts:
    """A tenant with a project `default` and a user who administers it; raises `IamExists`."""
    if name in service_domains():
        raise IamExists(what="domain", name=name)
    now = utcnow()
    domain = _new_domain(session, name, region)
    user = User(id=uuid.uuid4().hex, domain_id=domain.id, name=administrator, created_at=now)
    group = Group(id=uuid.uuid4().hex, domain_id=domain.id, name=ADMINISTRATORS, created_at=now)
    session.add_all([user, group])
    session.flush()
    session.add(GroupMember(group_id=group.id, user_id=user.id))
    for role_id in ADMINISTRATORS_ROLES:
        session.add(GroupRole(group_id=group.id, target_id=domain.id, role_id=role_id))
    return {"created_domain_id": domain.id, "administrator_id": user.id}


@change
def discard_domain(session: Session, _domain_id: str, *, created_domain_id: str) -> Facts:
    """Take back a domain that nobody has used yet."""
    for table in (Group, User, Project):
        session.execute(delete(table).where(table.domain_id == created_domain_id))
    session.execute(delete(Domain).where(Domain.id == created_domain_id))
    return {}


@change
def create_project(
    session: Session, domain_id: str, *, name: str, parent_id: str, description: str, region: str
) -> Facts:
    """A project below the domain, or below another project; raises `IamExists`."""
    above = None if parent_id == domain_id else parent_id
    if above is not None:
        find(session, Project, above, domain_id)
    if _children(session, domain_id, above) >= PROJECT_QUOTA:
        raise IamRequestInvalid(
            field="parent_id", reason=f"it has its {PROJECT_QUOTA} projects already"
        )
    project = _new_project(domain_id, name, region, above, description)
    session.add(project)
    flush(session, "project", name)
    return {"created_project_id": project.id}


@change
def update_project(
    session: Session, domain_id: str, *, project_id: str, name: str | None, description: str | None
) -> Facts:
    """Another name or description; raises `IamNotFound`, `IamExists`."""
    if name is None and description is None:
        raise IamRequestInvalid(field="project", reason="a new name or description is missing")
    project = find(session, Project, project_id, domain_id)
    before = project.name
    project.name = project.name if name is None else name
    project.description = project.description if description is None else description
    flush(session, "project", project.name)
    return {"project": before}


def _new_domain(session: Session, name: str, region: str) -> Domain:
    domain = Domain(id=uuid.uuid4().hex, name=name)
    session.add(domain)
    flush(session, "domain", name)
    session.add(_new_project(domain.id, DEFAULT, region))
    return domain


def _new_project(
    domain_id: str, name: str, region: str, above: str | None = None, description: str = ""
) -> Project:
    return Project(
        id=uuid.uuid4().hex,
        domain_id=domain_id,
        name=name,
        region=region,
        parent_id=above,
        description=description,
    )


def _children(session: Session, domain_id: str, above: str | None) -> int:
    query = select(func.count()).select_from(Project)
    return (
        session.scalar(query.where(Project.domain_id == domain_id, Project.parent_id == above)) or 0
    )
