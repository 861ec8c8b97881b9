"""Grants: create, list, retire, revoke."""

from __future__ import annotations

from typing import Annotated

from fastapi.routing import APIRouter
from pydantic import Field

from evsd.api.routes import Caller, Model, UsesKeys, needs, router
from evsd.services.kms.permissions import GrantOperation, KmsPermission
from evsd.services.kms.routes.bodies import BASE, KeyBody, Nothing, PageBody, PageResponse, page_end
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


routes: APIRouter = router(KMS, "KMS")


@routes.post(f"{BASE}/create-grant", **needs(KmsPermission.GRANT_CREATE))
async def create_grant(body: CreateGrantBody, call: Caller, keys: UsesKeys) -> CreateGrantResponse:
    """Lend a key, operation by operation."""
    made = await keys.ask(
        "create_grant",
        call,
        key_id=body.key_id,
        name=body.name or "",
        grantee=body.grantee_principal,
        grantee_type=body.grantee_principal_type,
        operations=body.operations,
        retiring_principal=body.retiring_principal or "",
    )
    return CreateGrantResponse(**made)


@routes.post(f"{BASE}/list-grants", **needs(KmsPermission.GRANT_LIST))
async def list_grants(body: ListGrantsBody, call: Caller, keys: UsesKeys) -> GrantsResponse:
    """The grants on one key."""
    found = await keys.ask(
        "list_grants", call, key_id=body.key_id, limit=body.limit, offset=body.marker
    )
    return _page(body, found["grants"], found["total"])


@routes.post(f"{BASE}/list-retirable-grants", **needs(KmsPermission.GRANT_LIST_RETIRABLE))
async def list_retirable_grants(
    call: Caller, keys: UsesKeys, body: ListRetirableGrantsBody | None = None
) -> GrantsResponse:
    """The grants the caller may retire as their retiring principal."""
    page = body or ListRetirableGrantsBody()
    found = await keys.ask("list_retirable_grants", call, limit=page.limit, offset=page.marker)
    return _page(page, found["grants"], found["total"])


@routes.post(f"{BASE}/revoke-grant", **needs(KmsPermission.GRANT_REVOKE))
async def revoke_grant(body: GrantBody, call: Caller, keys: UsesKeys) -> Nothing:
    """Take a grant back, as the key's owner."""
    await keys.ask("revoke_grant", call, key_id=body.key_id, grant_id=body.grant_id.lower())
    return Nothing()


@routes.post(f"{BASE}/retire-grant", **needs(KmsPermission.GRANT_RETIRE))
async def retire_grant(body: GrantBody, call: Caller, keys: UsesKeys) -> Nothing:
    """Give a grant up, as one it names."""
    await keys.ask("retire_grant", call, key_id=body.key_id, grant_id=body.grant_id.lower())
    return Nothing()


def _page(page: PageBody, grants: list[dict[str, object]], total: int) -> GrantsResponse:
    views = [GrantView.model_validate(grant) for grant in grants]
    return GrantsResponse(grants=views, **page_end(page, len(views), total))
