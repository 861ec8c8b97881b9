"""IAM: the published paths for projects, roles and agencies that delegation needs."""

from __future__ import annotations

from typing import Annotated

from fastapi import Response
from fastapi.routing import APIRouter
from pydantic import Field

from evsd.api import errors
from evsd.api.fields import microseconds
from evsd.api.routes import Caller, CallingPrincipal, Model, UsesServices, needs, router
from evsd.errors import IamNotFound
from evsd.iam.policy import VOLUME_SERVICE, Permission
from evsd.iam.service import ROLES
from evsd.store.tables import Agency, Project


class ProjectView(Model):
    """A project as published."""

    id: str
    name: str
    domain_id: str
    parent_id: str
    description: str = ""
    enabled: bool = True
    is_domain: bool = False


class ProjectsResponse(Model):
    """Of list projects."""

    projects: list[ProjectView]


class DomainView(Model):
    """A tenant as published."""

    id: str
    name: str
    enabled: bool = True
    description: str = ""


class DomainsResponse(Model):
    """Of list domains."""

    domains: list[DomainView]


class RoleView(Model):
    """A role as published."""

    id: str
    name: str
    display_name: str


class RolesResponse(Model):
    """Of list roles, and of an agency's roles."""

    roles: list[RoleView]


class WantedAgency(Model):
    """Create agency."""

    name: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_. -]+$")]
    domain_id: str
    trust_domain_name: Annotated[str, Field(max_length=64)] = VOLUME_SERVICE
    description: Annotated[str, Field(max_length=255)] = ""


class CreateAgencyBody(Model):
    """Create agency."""

    agency: WantedAgency


class AgencyView(Model):
    """An agency as published."""

    id: str
    name: str
    domain_id: str
    trust_domain_id: str
    trust_domain_name: str
    description: str
    duration: str = "FOREVER"
    create_time: str
    expire_time: str | None = None


class AgencyResponse(Model):
    """Of create and show agency."""

    agency: AgencyView


class AgenciesResponse(Model):
    """Of list agencies."""

    agencies: list[AgencyView]


class WantedCredential(Model):
    """Create access key: for oneself."""

    user_id: Annotated[str, Field(max_length=64)] | None = None
    description: Annotated[str, Field(max_length=255)] = ""


class CreateCredentialBody(Model):
    """Create access key."""

    credential: WantedCredential


class Credential(Model):
    """An access key as published."""

    access: str
    user_id: str
    status: str
    description: str
    create_time: str


class CreatedCredential(Credential):
    """An access key with its secret."""

    secret: str


class CreatedCredentialResponse(Model):
    """Of create access key."""

    credential: CreatedCredential


class CredentialsResponse(Model):
    """Of list access keys."""

    credentials: list[Credential]


routes: APIRouter = router(errors.IAM, "IAM")
CREDENTIALS = "/v3.0/OS-CREDENTIAL/credentials"
AGENCIES = "/v3.0/OS-AGENCY/agencies"
GRANTS = "/v3.0/OS-AGENCY/projects/{project_id}/agencies/{agency_id}/roles"


@routes.get("/v3/projects", **needs(Permission.PROJECT_LIST))
@routes.get("/v3/auth/projects", **needs(Permission.PROJECT_LIST))
def list_projects(
    caller: CallingPrincipal, services: UsesServices, name: str | None = None
) -> ProjectsResponse:
    """The projects of the caller's domain."""
    return ProjectsResponse(
        projects=[_project(p) for p in services.identity.projects(caller, name)]
    )


@routes.get("/v3/auth/domains", **needs(Permission.PROJECT_LIST))
def list_domains(caller: CallingPrincipal, services: UsesServices) -> DomainsResponse:
    """The caller's domain."""
    domain = services.identity.domain(caller)
    return DomainsResponse(domains=[DomainView(id=domain.id, name=domain.name)])


@routes.get("/v3/roles", **needs(Permission.ROLE_LIST))
def list_roles() -> RolesResponse:
    """The roles an agency can be granted."""
    return RolesResponse(roles=[_role(role_id) for role_id in ROLES])


@routes.post(AGENCIES, status_code=201, **needs(Permission.AGENCY_CREATE))
def create_agency(
    body: CreateAgencyBody, caller: CallingPrincipal, services: UsesServices
) -> AgencyResponse:
    """Trust the volume service; a role for a project is granted separately."""
    wanted = body.agency
    if wanted.domain_id != caller.domain_id:
        raise IamNotFound(what="domain", name=wanted.domain_id)
    made = services.identity.create_agency(
        caller, wanted.name, wanted.trust_domain_name, wanted.description
    )
    return AgencyResponse(agency=_agency(made))


@routes.get(AGENCIES, **needs(Permission.AGENCY_LIST))
def list_agencies(caller: CallingPrincipal, services: UsesServices) -> AgenciesResponse:
    """The agencies of the caller's domain."""
    return AgenciesResponse(agencies=[_agency(a) for a in services.identity.agencies(caller)])


@routes.get(f"{AGENCIES}/{{agency_id}}", **needs(Permission.AGENCY_LIST))
def show_agency(agency_id: str, caller: CallingPrincipal, services: UsesServices) -> AgencyResponse:
    """One agency."""
    return AgencyResponse(agency=_agency(services.identity.agency(caller, agency_id)))


@routes.delete(f"{AGENCIES}/{{agency_id}}", status_code=204, **needs(Permission.AGENCY_DELETE))
def delete_agency(agency_id: str, caller: CallingPrincipal, services: UsesServices) -> Response:
    """End the trust in all projects."""
    services.identity.delete_agency(caller, agency_id)
    return Response(status_code=204)


@routes.get(GRANTS, **needs(Permission.AGENCY_LIST))
def list_agency_roles(
    project_id: str, agency_id: str, caller: CallingPrincipal, services: UsesServices
) -> RolesResponse:
    """What an agency may do in a project."""
    roles = services.identity.agency_roles(caller, agency_id, project_id)
    return RolesResponse(roles=[_role(role_id) for role_id in roles])


@routes.put(f"{GRANTS}/{{role_id}}", status_code=204, **needs(Permission.AGENCY_GRANT))
def grant_agency_role(
    project_id: str, agency_id: str, role_id: str, caller: CallingPrincipal, services: UsesServices
) -> Response:
    """Let an agency use the keys of a project."""
    services.identity.grant(caller, agency_id, project_id, role_id)
    return Response(status_code=204)


@routes.delete(f"{GRANTS}/{{role_id}}", status_code=204, **needs(Permission.AGENCY_REVOKE))
def revoke_agency_role(
    project_id: str, agency_id: str, role_id: str, caller: CallingPrincipal, services: UsesServices
) -> Response:
    """Take that back."""
    services.identity.revoke(caller, agency_id, project_id, role_id)
    return Response(status_code=204)


@routes.post(CREDENTIALS, status_code=201, **needs(Permission.ACCESS_KEY_CREATE))
def create_access_key(
    body: CreateCredentialBody, call: Caller, caller: CallingPrincipal, services: UsesServices
) -> CreatedCredentialResponse:
    """An access key for the caller; its secret is told only here."""
    if body.credential.user_id not in (None, caller.name):
        raise IamNotFound(what="user", name=body.credential.user_id)
    made = services.keys.call(
        "create_access_key",
        call,
        description=body.credential.description,
    )
    return CreatedCredentialResponse(credential=CreatedCredential(**made))


@routes.get(CREDENTIALS, **needs(Permission.ACCESS_KEY_LIST))
def list_access_keys(call: Caller, services: UsesServices) -> CredentialsResponse:
    """The caller's access keys."""
    found = services.keys.call("list_access_keys", call)["credentials"]
    return CredentialsResponse(credentials=[Credential(**record) for record in found])


@routes.delete(f"{CREDENTIALS}/{{access}}", status_code=204, **needs(Permission.ACCESS_KEY_DELETE))
def delete_access_key(access: str, call: Caller, services: UsesServices) -> Response:
    """End an access key at once."""
    services.keys.call("delete_access_key", call, access=access)
    return Response(status_code=204)


def _project(project: Project) -> ProjectView:
    return ProjectView(
        id=project.id, name=project.name, domain_id=project.domain_id, parent_id=project.domain_id
    )


def _role(role_id: str) -> RoleView:
    return RoleView(id=role_id, name=role_id, display_name=ROLES[role_id])


def _agency(agency: Agency) -> AgencyView:
    return AgencyView(
        id=agency.id,
        name=agency.name,
        domain_id=agency.domain_id,
        trust_domain_id=agency.trust_domain_name,
        trust_domain_name=agency.trust_domain_name,
        description=agency.description,
        create_time=microseconds(agency.created_at),
    )
