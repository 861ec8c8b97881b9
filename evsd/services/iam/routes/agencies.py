"""Agencies: trust in another domain, or in a service, with roles in projects."""

from __future__ import annotations

from typing import Annotated

from fastapi import Response
from pydantic import BeforeValidator, Field

from evsd.api.fields import microseconds
from evsd.api.router import Router, router
from evsd.api.routes import CallingPrincipal, Model, needs
from evsd.policy import service_domains
from evsd.services.iam import agencies as records
from evsd.services.iam.agencies import NOBODY, Trust
from evsd.services.iam.permissions import IamPermission
from evsd.services.iam.routes.changes import MakesChanges
from evsd.services.iam.routes.dependencies import UsesIam
from evsd.services.iam.routes.fields import (
    Description,
    Id,
    Name,
    NameFilter,
    UsesPaging,
    no_content,
    require_own_domain,
)
from evsd.services.iam.routes.roles import RolesResponse, roles_response
from evsd.services.iam.service import IamService
from evsd.services.iam.style import IAM
from evsd.services.iam.tables import Agency

MAX_DAYS = 36500
FOREVER = 0


def _days(value: object) -> object:
    """FOREVER, ONEDAY, or a number of days, which some clients send as text."""
    named = {None: FOREVER, "FOREVER": FOREVER, "ONEDAY": 1}
    if value is None or isinstance(value, str):
        return named.get(value, int(value) if value and value.isdecimal() else -1)
    if isinstance(value, bool):
        raise ValueError("FOREVER, ONEDAY or a number of days")
    return value


Days = Annotated[int, BeforeValidator(_days), Field(ge=0, le=MAX_DAYS)]


class AgencyChanges(Model):
    """Update agency; what is not given stays."""

    trust_domain_id: Id | None = None
    trust_domain_name: Id | None = None
    description: Description | None = None
    duration: Days | None = None

    @property
    def trust(self) -> Trust:
        """Whom it trusts, if that is said."""
        return Trust(self.trust_domain_name, self.trust_domain_id)


class UpdateAgencyBody(Model):
    """Update agency."""

    agency: AgencyChanges


class WantedAgency(AgencyChanges):
    """Create agency; without a trusted domain it trusts the volume service."""

    name: Name
    domain_id: Id


class CreateAgencyBody(Model):
    """Create agency."""

    agency: WantedAgency


class AgencyView(Model):
    """An agency as published; the duration is FOREVER or in hours."""

    id: str
    name: str
    domain_id: str
    trust_domain_id: str
    trust_domain_name: str
    description: str
    duration: str
    create_time: str
    expire_time: str | None


class AgencyResponse(Model):
    """Of create, show and update agency."""

    agency: AgencyView


class AgenciesResponse(Model):
    """Of list agencies."""

    agencies: list[AgencyView]


routes: Router = router(IAM, "IAM")
AGENCIES = "/v3.0/OS-AGENCY/agencies"
GRANTS = "/v3.0/OS-AGENCY/projects/{project_id}/agencies/{agency_id}/roles"


@routes.post(AGENCIES, status_code=201, **needs(IamPermission.AGENCY_CREATE))
def create_agency(
    body: CreateAgencyBody, caller: CallingPrincipal, iam: UsesIam, changes: MakesChanges
) -> AgencyResponse:
    """Trust another domain or the volume service; a role for a project is granted separately."""
    wanted = body.agency
    require_own_domain(caller, wanted.domain_id)
    # The volume service was the first that could be trusted.
    trust = Trust(service_domains()[0], None) if wanted.trust == NOBODY else wanted.trust
    made = changes.make(
        records.create_agency,
        name=wanted.name,
        trust_domain_name=trust.domain_name,
        trust_domain_id=trust.domain_id,
        description=wanted.description or "",
        days=wanted.duration or FOREVER,
    )
    agency = iam.agencies.agency(caller, made["agency_id"])
    return AgencyResponse(agency=_agency(iam, agency))


@routes.get(AGENCIES, **needs(IamPermission.AGENCY_LIST))
def list_agencies(
    caller: CallingPrincipal,
    iam: UsesIam,
    paging: UsesPaging,
    domain_id: str | None = None,
    trust_domain_id: str | None = None,
    name: NameFilter | None = None,
) -> AgenciesResponse:
    """The agencies of the caller's domain."""
    require_own_domain(caller, domain_id)
    found = iam.agencies.agencies(caller, name, trust_domain_id)
    return AgenciesResponse(agencies=[_agency(iam, agency) for agency in paging.of(found)])


@routes.get(f"{AGENCIES}/{{agency_id}}", **needs(IamPermission.AGENCY_LIST))
def show_agency(agency_id: str, caller: CallingPrincipal, iam: UsesIam) -> AgencyResponse:
    """One agency."""
    agency = iam.agencies.agency(caller, agency_id)
    return AgencyResponse(agency=_agency(iam, agency))


@routes.put(f"{AGENCIES}/{{agency_id}}", **needs(IamPermission.AGENCY_UPDATE))
def update_agency(
    agency_id: str,
    body: UpdateAgencyBody,
    caller: CallingPrincipal,
    iam: UsesIam,
    changes: MakesChanges,
) -> AgencyResponse:
    """Trust another domain, describe it anew, or end it at another time, counted from now."""
    wanted = body.agency
    changes.make(
        records.update_agency,
        agency_id=agency_id,
        trust_domain_name=wanted.trust_domain_name,
        trust_domain_id=wanted.trust_domain_id,
        description=wanted.description,
        days=wanted.duration,
    )
    agency = iam.agencies.agency(caller, agency_id)
    return AgencyResponse(agency=_agency(iam, agency))


@routes.delete(f"{AGENCIES}/{{agency_id}}", status_code=204, **needs(IamPermission.AGENCY_DELETE))
def delete_agency(agency_id: str, changes: MakesChanges) -> Response:
    """End the trust in all projects."""
    changes.make(records.delete_agency, agency_id=agency_id)
    return no_content()


@routes.get(GRANTS, **needs(IamPermission.AGENCY_LIST))
def list_agency_roles(
    project_id: str, agency_id: str, caller: CallingPrincipal, iam: UsesIam
) -> RolesResponse:
    """What an agency may do in a project."""
    return roles_response(iam.agencies.roles(caller, agency_id, project_id))


@routes.head(f"{GRANTS}/{{role_id}}", status_code=204, **needs(IamPermission.AGENCY_LIST))
def check_agency_role(
    project_id: str, agency_id: str, role_id: str, caller: CallingPrincipal, iam: UsesIam
) -> Response:
    """Whether an agency has a role in a project."""
    iam.agencies.require_role(caller, agency_id, project_id, role_id)
    return no_content()


@routes.put(f"{GRANTS}/{{role_id}}", status_code=204, **needs(IamPermission.AGENCY_GRANT))
def grant_agency_role(
    project_id: str, agency_id: str, role_id: str, changes: MakesChanges
) -> Response:
    """Let an agency act in a project; the volume service with `kms_adm` uses its keys."""
    changes.make(
        records.grant_agency_role, agency_id=agency_id, project_id=project_id, role_id=role_id
    )
    return no_content()


@routes.delete(f"{GRANTS}/{{role_id}}", status_code=204, **needs(IamPermission.AGENCY_REVOKE))
def revoke_agency_role(
    project_id: str, agency_id: str, role_id: str, changes: MakesChanges
) -> Response:
    """Take that back."""
    changes.make(
        records.revoke_agency_role, agency_id=agency_id, project_id=project_id, role_id=role_id
    )
    return no_content()


def _agency(iam: IamService, agency: Agency) -> AgencyView:
    return AgencyView(
        id=agency.id,
        name=agency.name,
        domain_id=agency.domain_id,
        trust_domain_id=iam.agencies.trusted_domain_id(agency),
        trust_domain_name=agency.trust_domain_name,
        description=agency.description,
        duration=_hours(agency),
        create_time=microseconds(agency.created_at),
        expire_time=microseconds(agency.expires_at) if agency.expires_at else None,
    )


def _hours(agency: Agency) -> str:
    if agency.expires_at is None:
        return "FOREVER"
    return str(round((agency.expires_at - agency.created_at).total_seconds() / 3600))
