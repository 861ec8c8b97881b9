"""Access keys (AK/SK), permanent ones and temporary ones."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Request, Response
from pydantic import Field

from evsd.api.router import Router, router
from evsd.api.routes import (
    Caller,
    CallingPrincipal,
    Model,
    forbidden,
    may_administer,
    needs,
    require_self_or_administrator,
)
from evsd.principal import Principal
from evsd.services.iam import operations
from evsd.services.iam.errors import CredentialsTemporary, IamRequestInvalid
from evsd.services.iam.permissions import IamPermission
from evsd.services.iam.routes.dependencies import UsesIam
from evsd.services.iam.routes.fields import Description, Id, no_content
from evsd.services.iam.service import IamService
from evsd.services.iam.style import IAM

DEFAULT_SECONDS, MIN_SECONDS, MAX_SECONDS = 900, 900, 86400


class WantedCredential(Model):
    """Create access key: for oneself, or for another user."""

    user_id: Id | None = None
    description: Description = ""


class CreateCredentialBody(Model):
    """Create access key."""

    credential: WantedCredential


class CredentialChanges(Model):
    """Update access key; what is not given stays."""

    status: Literal["active", "inactive"] | None = None
    description: Description | None = None


class UpdateCredentialBody(Model):
    """Update access key."""

    credential: CredentialChanges


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


class ShownCredential(Credential):
    """An access key, and when it was last used, to a quarter of an hour."""

    last_use_time: str | None


class CreatedCredentialResponse(Model):
    """Of create access key."""

    credential: CreatedCredential


class ShownCredentialResponse(Model):
    """Of show access key."""

    credential: ShownCredential


class CredentialResponse(Model):
    """Of update access key."""

    credential: Credential


class CredentialsResponse(Model):
    """Of list access keys."""

    credentials: list[Credential]


Seconds = Annotated[int, Field(ge=MIN_SECONDS, le=MAX_SECONDS)]


class OwnToken(Model):
    """Temporary credentials for the caller itself."""

    id: str | None = None
    duration_seconds: Seconds = DEFAULT_SECONDS


class AssumedRole(Model):
    """Temporary credentials by an agency that trusts the caller's domain."""

    agency_name: Annotated[str, Field(max_length=64)]
    domain_id: Id | None = None
    domain_name: Id | None = None
    duration_seconds: Seconds = DEFAULT_SECONDS


class TemporaryIdentity(Model):
    """By which of the two methods."""

    methods: Annotated[list[Literal["token", "assume_role"]], Field(min_length=1, max_length=1)]
    token: OwnToken | None = None
    assume_role: AssumedRole | None = None
    policy: object = None


class TemporaryAuth(Model):
    """Create temporary access key."""

    identity: TemporaryIdentity


class CreateTemporaryBody(Model):
    """Create temporary access key."""

    auth: TemporaryAuth


class TemporaryCredential(Model):
    """A pair with a security token and an end."""

    access: str
    secret: str
    securitytoken: str
    expires_at: str


class TemporaryCredentialResponse(Model):
    """Of create temporary access key."""

    credential: TemporaryCredential


routes: Router = router(IAM, "IAM")
CREDENTIALS = "/v3.0/OS-CREDENTIAL/credentials"
CREDENTIAL = "/v3.0/OS-CREDENTIAL/credentials/{access}"


@routes.post(
    CREDENTIALS,
    status_code=201,
    **needs(IamPermission.OWN_ACCESS_KEY_CREATE, of_others=IamPermission.ACCESS_KEY_CREATE),
)
def create_access_key(
    body: CreateCredentialBody,
    request: Request,
    call: Caller,
    caller: CallingPrincipal,
    iam: UsesIam,
) -> CreatedCredentialResponse:
    """An access key; its secret is told only here."""
    require_permanent(caller)
    user_id = body.credential.user_id or caller.id
    require_self_or_administrator(request, user_id)
    wanted = operations.CreateAccessKey(
        iam.users.user(caller, user_id).id, body.credential.description
    )
    made = iam.keys.call(call, wanted)
    created = CreatedCredential(**dict(_credential(made.key)), secret=made.secret)
    return CreatedCredentialResponse(credential=created)


@routes.get(
    CREDENTIALS, **needs(IamPermission.OWN_ACCESS_KEY_LIST, of_others=IamPermission.ACCESS_KEY_LIST)
)
def list_access_keys(
    request: Request,
    call: Caller,
    caller: CallingPrincipal,
    iam: UsesIam,
    user_id: str | None = None,
) -> CredentialsResponse:
    """A user's permanent access keys, the caller's if none is named."""
    if user_id is not None:
        require_self_or_administrator(request, user_id)
        iam.users.user(caller, user_id)
    found = iam.keys.call(call, operations.ListAccessKeys(user_id or caller.id))
    return CredentialsResponse(credentials=[_credential(key) for key in found])


@routes.get(
    CREDENTIAL, **needs(IamPermission.OWN_ACCESS_KEY_LIST, of_others=IamPermission.ACCESS_KEY_LIST)
)
def show_access_key(
    access: str, request: Request, call: Caller, caller: CallingPrincipal, iam: UsesIam
) -> ShownCredentialResponse:
    """One access key."""
    found = iam.keys.call(call, operations.ShowAccessKey(access, owner(request, caller)))
    shown = ShownCredential(**dict(_credential(found.key)), last_use_time=found.last_use_time)
    return ShownCredentialResponse(credential=shown)


@routes.put(
    CREDENTIAL,
    **needs(IamPermission.OWN_ACCESS_KEY_UPDATE, of_others=IamPermission.ACCESS_KEY_UPDATE),
)
def update_access_key(
    access: str,
    body: UpdateCredentialBody,
    request: Request,
    call: Caller,
    caller: CallingPrincipal,
    iam: UsesIam,
) -> CredentialResponse:
    """Stop a key at once (inactive), let it be used again (active), or describe it anew."""
    require_permanent(caller)
    status = body.credential.status
    wanted = operations.UpdateAccessKey(
        access=access,
        owner=owner(request, caller),
        active=None if status is None else status == "active",
        description=body.credential.description,
    )
    return CredentialResponse(credential=_credential(iam.keys.call(call, wanted)))


@routes.delete(
    CREDENTIAL,
    status_code=204,
    **needs(IamPermission.OWN_ACCESS_KEY_DELETE, of_others=IamPermission.ACCESS_KEY_DELETE),
)
def delete_access_key(
    access: str, request: Request, call: Caller, caller: CallingPrincipal, iam: UsesIam
) -> Response:
    """End an access key at once."""
    iam.keys.call(call, operations.DeleteAccessKey(access, owner(request, caller)))
    return no_content()


@routes.post(
    "/v3.0/OS-CREDENTIAL/securitytokens",
    status_code=201,
    **needs(IamPermission.TEMPORARY_KEY_CREATE, of_others=IamPermission.AGENCY_ASSUME),
)
def create_temporary_key(
    body: CreateTemporaryBody,
    request: Request,
    call: Caller,
    caller: CallingPrincipal,
    iam: UsesIam,
) -> TemporaryCredentialResponse:
    """Temporary credentials: as the caller itself, or as an agency that trusts its domain."""
    require_permanent(caller)
    identity = body.auth.identity
    if identity.policy is not None:
        raise IamRequestInvalid(
            field="policy", reason="it can't narrow credentials here, leave it out"
        )
    if identity.methods == ["assume_role"]:
        agency_id, seconds = _assume(identity.assume_role, request, caller, iam)
    else:
        agency_id, seconds = None, _own(identity.token)
    made = iam.keys.call(call, operations.CreateTemporaryKey(caller.id, agency_id, seconds))
    credential = TemporaryCredential(
        access=made.access,
        secret=made.secret,
        securitytoken=made.security_token,
        expires_at=made.expires_at,
    )
    return TemporaryCredentialResponse(credential=credential)


def _credential(key: operations.AccessKeyDetails) -> Credential:
    return Credential(
        access=key.access,
        user_id=key.user_id,
        status=key.status,
        description=key.description,
        create_time=key.create_time,
    )


def _own(token: OwnToken | None) -> int:
    """For how long; the signature says for whom."""
    if token is not None and token.id is not None:
        raise IamRequestInvalid(
            field="token.id", reason="the signature says who you are, leave it out"
        )
    return DEFAULT_SECONDS if token is None else token.duration_seconds


def _assume(
    wanted: AssumedRole | None, request: Request, caller: Principal, iam: IamService
) -> tuple[str, int]:
    """The agency's id, and for how long."""
    if wanted is None or (wanted.domain_id is None and wanted.domain_name is None):
        raise IamRequestInvalid(field="assume_role", reason="agency_name and its domain are needed")
    if not may_administer(request):
        raise forbidden(request, IamPermission.AGENCY_ASSUME)
    agency = iam.agencies.assumable(
        caller, wanted.agency_name, wanted.domain_name, wanted.domain_id
    )
    return agency.id, wanted.duration_seconds


def owner(request: Request, caller: Principal) -> str | None:
    """Whose keys or tokens the caller may see: its own, or those of its domain."""
    return None if may_administer(request) else caller.id


def require_permanent(caller: Principal) -> None:
    """Who has got hold of temporary credentials must not make others that outlast them."""
    if caller.temporary:
        raise CredentialsTemporary(user=caller.name)
