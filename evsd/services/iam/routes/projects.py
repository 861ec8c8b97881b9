"""Domains, regions and projects."""

from __future__ import annotations

from fastapi import Request

from evsd.api.router import Router, router
from evsd.api.routes import Caller, CallingPrincipal, Model, needs, require_self_or_administrator
from evsd.services.iam import projects as records
from evsd.services.iam.errors import IamNotFound
from evsd.services.iam.operations import CreateAccessKey
from evsd.services.iam.permissions import IamPermission
from evsd.services.iam.projects import PROJECT_QUOTA
from evsd.services.iam.routes.changes import MakesChanges
from evsd.services.iam.routes.dependencies import UsesIam
from evsd.services.iam.routes.fields import (
    Description,
    Id,
    Links,
    Name,
    NameFilter,
    ProjectName,
    UsesPaging,
    link,
    require_own_domain,
)
from evsd.services.iam.style import IAM
from evsd.services.iam.tables import Domain, Project


class ProjectView(Model):
    """A project as published."""

    id: str
    name: str
    domain_id: str
    parent_id: str
    description: str
    enabled: bool = True
    is_domain: bool = False
    links: Links


class ProjectResponse(Model):
    """Of create, show and update project."""

    project: ProjectView


class ProjectsResponse(Model):
    """Of list projects."""

    projects: list[ProjectView]
    links: Links


class WantedProject(Model):
    """Create project: below the domain, or below another project."""

    name: ProjectName
    parent_id: Id
    domain_id: Id | None = None
    description: Description = ""


class CreateProjectBody(Model):
    """Create project."""

    project: WantedProject


class ProjectChanges(Model):
    """Update project."""

    name: ProjectName | None = None
    description: Description | None = None


class UpdateProjectBody(Model):
    """Update project."""

    project: ProjectChanges


class DomainView(Model):
    """A tenant as published."""

    id: str
    name: str
    enabled: bool = True
    description: str = ""
    links: Links


class DomainsResponse(Model):
    """Of list domains."""

    domains: list[DomainView]
    links: Links


class WantedDomain(Model):
    """Create domain: its name, and that of the user who will administer it."""

    name: Name
    administrator: Name = "admin"


class CreateDomainBody(Model):
    """Create domain."""

    domain: WantedDomain


class Administrator(Model):
    """A new domain's first user, and its access key, whose secret is told only here."""

    id: str
    name: str
    access: str
    secret: str


class CreateDomainResponse(Model):
    """Of create domain."""

    domain: DomainView
    administrator: Administrator


class RegionView(Model):
    """The region as published."""

    id: str
    type: str = "public"
    description: str = ""
    parent_region_id: str | None = None
    locales: dict[str, str]
    links: Links


class RegionResponse(Model):
    """Of show region."""

    region: RegionView


class RegionsResponse(Model):
    """Of list regions."""

    regions: list[RegionView]
    links: Links


class Quota(Model):
    """How many there may be, and are."""

    type: str
    quota: int
    used: int
    max: int
    min: int


class Quotas(Model):
    """All quotas of a project."""

    resources: list[Quota]


class QuotasResponse(Model):
    """Of show project quota."""

    quotas: Quotas


routes: Router = router(IAM, "IAM")


@routes.get("/v3/projects", **needs(IamPermission.PROJECT_LIST))
@routes.get("/v3/auth/projects", **needs(IamPermission.PROJECT_LIST))
def list_projects(
    caller: CallingPrincipal,
    iam: UsesIam,
    paging: UsesPaging,
    name: NameFilter | None = None,
    domain_id: str | None = None,
    parent_id: str | None = None,
    enabled: bool | None = None,
    is_domain: bool | None = None,
) -> ProjectsResponse:
    """The projects in which the caller has a role; by the region's name the default one too."""
    require_own_domain(caller, domain_id)
    records_of = iam.projects
    found = (
        records_of.projects(caller)
        if name is None
        else records_of.projects_named(caller, name, iam.region)
    )
    if parent_id is not None:
        found = [
            project for project in found if (project.parent_id or project.domain_id) == parent_id
        ]
    if enabled is False or is_domain:  # all are enabled, and none is a domain
        found = []
    return _projects(paging.of(found))


@routes.get(
    "/v3/users/{user_id}/projects",
    **needs(IamPermission.OWN_USER_SHOW, of_others=IamPermission.USER_SHOW),
)
def list_projects_of_user(
    user_id: str, request: Request, caller: CallingPrincipal, iam: UsesIam
) -> ProjectsResponse:
    """The projects in which a user has a role."""
    require_self_or_administrator(request, user_id)
    if user_id == caller.id:
        return _projects(iam.projects.projects(caller))
    user = iam.users.user(caller, user_id)
    principal = iam.directory.signer(user.id, "")
    return _projects(iam.projects.projects(principal) if principal else [])


@routes.get("/v3/projects/{project_id}", **needs(IamPermission.PROJECT_SHOW))
def show_project(project_id: str, caller: CallingPrincipal, iam: UsesIam) -> ProjectResponse:
    """One project."""
    return ProjectResponse(project=_project(iam.projects.project(caller, project_id)))


@routes.post("/v3/projects", status_code=201, **needs(IamPermission.PROJECT_CREATE))
def create_project(
    body: CreateProjectBody,
    caller: CallingPrincipal,
    iam: UsesIam,
    changes: MakesChanges,
) -> ProjectResponse:
    """A new project; nobody but the domain's own roles may do anything in it yet."""
    wanted = body.project
    require_own_domain(caller, wanted.domain_id)
    made = changes.make(
        records.create_project,
        name=wanted.name,
        parent_id=wanted.parent_id,
        description=wanted.description,
        region=iam.region,
    )
    project = iam.projects.project(caller, made["created_project_id"])
    return ProjectResponse(project=_project(project))


@routes.patch("/v3/projects/{project_id}", **needs(IamPermission.PROJECT_UPDATE))
def update_project(
    project_id: str,
    body: UpdateProjectBody,
    caller: CallingPrincipal,
    iam: UsesIam,
    changes: MakesChanges,
) -> ProjectResponse:
    """Another name or description."""
    changes.make(
        records.update_project,
        project_id=project_id,
        name=body.project.name,
        description=body.project.description,
    )
    return ProjectResponse(project=_project(iam.projects.project(caller, project_id)))


@routes.get("/v3.0/OS-QUOTA/projects/{project_id}", **needs(IamPermission.QUOTA_SHOW))
def show_project_quota(project_id: str, caller: CallingPrincipal, iam: UsesIam) -> QuotasResponse:
    """How many projects there may be below this one."""
    used = iam.projects.children(caller, project_id)
    quota = Quota(type="project", quota=PROJECT_QUOTA, used=used, max=PROJECT_QUOTA, min=0)
    return QuotasResponse(quotas=Quotas(resources=[quota]))


@routes.get("/v3/auth/domains", **needs(IamPermission.OWN_DOMAIN_LIST))
def list_own_domain(caller: CallingPrincipal, iam: UsesIam) -> DomainsResponse:
    """The caller's domain."""
    domain = iam.projects.domain(caller)
    return DomainsResponse(domains=[_domain(domain)], links=link("auth", "domains"))


@routes.get("/v3/domains", **needs(IamPermission.DOMAIN_LIST))
def list_domains(iam: UsesIam) -> DomainsResponse:
    """All domains; as Keystone publishes it, for the cloud has no path for this."""
    domains = iam.projects.domains()
    return DomainsResponse(domains=[_domain(domain) for domain in domains], links=link("domains"))


@routes.post("/v3/domains", status_code=201, **needs(IamPermission.DOMAIN_CREATE))
def create_domain(
    body: CreateDomainBody, call: Caller, iam: UsesIam, changes: MakesChanges
) -> CreateDomainResponse:
    """A new tenant with a project `default`, and a user with an access key who administers it."""
    wanted = body.domain
    made = changes.make(
        records.create_domain,
        name=wanted.name,
        administrator=wanted.administrator,
        region=iam.region,
    )
    domain_id, user_id = made["created_domain_id"], made["administrator_id"]
    try:
        made_key = iam.keys.call(call, CreateAccessKey(user_id, "first key"))
    except Exception:
        changes.make(records.discard_domain, created_domain_id=domain_id)
        raise
    domain = _domain(Domain(id=domain_id, name=wanted.name))
    administrator = Administrator(
        id=user_id,
        name=wanted.administrator,
        access=made_key.key.access,
        secret=made_key.secret,
    )
    return CreateDomainResponse(domain=domain, administrator=administrator)


@routes.get("/v3/regions", **needs(IamPermission.REGION_LIST))
def list_regions(iam: UsesIam) -> RegionsResponse:
    """The one region this server is."""
    return RegionsResponse(regions=[_region(iam.region)], links=link("regions"))


@routes.get("/v3/regions/{region_id}", **needs(IamPermission.REGION_LIST))
def show_region(region_id: str, iam: UsesIam) -> RegionResponse:
    """The one region this server is."""
    if region_id != iam.region:
        raise IamNotFound(what="region", name=region_id)
    return RegionResponse(region=_region(region_id))


def _projects(projects: list[Project]) -> ProjectsResponse:
    return ProjectsResponse(projects=[_project(p) for p in projects], links=link("projects"))


def _project(project: Project) -> ProjectView:
    return ProjectView(
        id=project.id,
        name=project.name,
        domain_id=project.domain_id,
        parent_id=project.parent_id or project.domain_id,
        description=project.description,
        links=link("projects", project.id),
    )


def _domain(domain: Domain) -> DomainView:
    return DomainView(id=domain.id, name=domain.name, links=link("domains", domain.id))


def _region(region_id: str) -> RegionView:
    return RegionView(id=region_id, locales={"en-us": region_id}, links=link("regions", region_id))
