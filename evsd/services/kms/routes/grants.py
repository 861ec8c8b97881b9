"""Grants: create, list, retire, revoke."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from evsd.api.router import Router, router
from evsd.api.routes import Caller, Model, UsesKeys, needs
from evsd.services.kms import operations
from evsd.services.kms.permissions import GrantOperation, KmsPermission
from evsd.services.kms.routes.bodies import (
    BASE,
    KeyBody,
    Nothing,
    PageBody,
    PageResponse,
    page_end,
    published_time,
)
from evsd.services.kms.style import KMS

Principal = Annotated[str, Field(pattern="^[a-zA-Z0-9]{1,64}$")]


class CreateGrantBody(KeyBody):
    """create-grant."""

    grantee_principal: Principal
    operations: Annotated[list[GrantOperation], Field(min_length=1, max_length=16)]
    name: Annotated[str, Field(pattern="^[a-zA-Z0-9:/_-]{1,255}$")] | None = None
    retiring_principal: Principal | None = None
    grantee_principal_type: Annotated[str, Field(pattern="^(user|domain)$")] = "user"


class ListGrantsBody(KeyBody, PageBody):
    """list-grants."""


class ListRetirableGrantsBody(PageBody):
    """list-retirable-grants."""


class GrantBody(KeyBody):
    """revoke-grant and retire-grant."""

    grant_id: Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$")]


class CreateGrantResponse(Model):
    """Of create-grant."""

    grant_id: str


class GrantView(Model):
    """A grant as published."""

    key_id: str
    grant_id: str
    grantee_principal: str
    grantee_principal_type: str
    operations: list[str]
    issuing_principal: str
    creation_date: str
    name: str
    retiring_principal: str


class GrantsResponse(PageResponse):
    """Of both lists."""

    grants: list[GrantView]


routes: Router = router(KMS, "KMS")


@routes.post(f"{BASE}/create-grant", **needs(KmsPermission.GRANT_CREATE))
async def create_grant(body: CreateGrantBody, call: Caller, keys: UsesKeys) -> CreateGrantResponse:
    """Lend a key, operation by operation."""
    wanted = operations.CreateGrant(
        key_id=body.key_id,
        name=body.name or "",
        grantee=body.grantee_principal,
        grantee_type=body.grantee_principal_type,
        operations=body.operations,
        retiring_principal=body.retiring_principal or "",
    )
    return CreateGrantResponse(grant_id=await keys.ask(call, wanted))


@routes.post(f"{BASE}/list-grants", **needs(KmsPermission.GRANT_LIST))
async def list_grants(body: ListGrantsBody, call: Caller, keys: UsesKeys) -> GrantsResponse:
    """The grants on one key."""
    wanted = operations.ListGrants(body.key_id, body.limit, body.marker)
    return _page(body, await keys.ask(call, wanted))


@routes.post(f"{BASE}/list-retirable-grants", **needs(KmsPermission.GRANT_LIST_RETIRABLE))
async def list_retirable_grants(
    call: Caller, keys: UsesKeys, body: ListRetirableGrantsBody | None = None
) -> GrantsResponse:
    """The grants the caller may retire as their retiring principal."""
    page = body or ListRetirableGrantsBody()
    wanted = operations.ListRetirableGrants(page.limit, page.marker)
    return _page(page, await keys.ask(call, wanted))


@routes.post(f"{BASE}/revoke-grant", **needs(KmsPermission.GRANT_REVOKE))
async def revoke_grant(body: GrantBody, call: Caller, keys: UsesKeys) -> Nothing:
    """Take a grant back, as the key's owner."""
    await keys.ask(call, operations.RevokeGrant(body.key_id, body.grant_id.lower()))
    return Nothing()


@routes.post(f"{BASE}/retire-grant", **needs(KmsPermission.GRANT_RETIRE))
async def retire_grant(body: GrantBody, call: Caller, keys: UsesKeys) -> Nothing:
    """Give a grant up, as one it names."""
    await keys.ask(call, operations.RetireGrant(body.key_id, body.grant_id.lower()))
    return Nothing()


def _page(page: PageBody, found: operations.FoundGrants) -> GrantsResponse:
    views = [_view(grant) for grant in found.grants]
    return GrantsResponse(grants=views, **page_end(page, len(views), found.total))


def _view(grant: operations.GrantDetails) -> GrantView:
    return GrantView(
        key_id=grant.key_id,
        grant_id=grant.grant_id,
        grantee_principal=grant.grantee,
        grantee_principal_type=grant.grantee_type,
        operations=grant.operations,
        issuing_principal=grant.issuer,
        creation_date=published_time(grant.created_at),
        name=grant.name,
        retiring_principal=grant.retiring_principal,
    )
