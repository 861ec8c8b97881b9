"""Tokens for clients that can't sign, on paths of evsd's own.

Keystone's, which the cloud publishes, take a password and answer a catalogue of services; here
whoever asks has proved already who it is, and is told nothing but the token.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Request, Response
from pydantic import Field

from evsd.api.router import Router, router
from evsd.api.routes import (
    Caller,
    CallingPrincipal,
    Model,
    needs,
    require_self_or_administrator,
)
from evsd.services.iam import operations
from evsd.services.iam.permissions import IamPermission
from evsd.services.iam.routes.access_keys import (
    DEFAULT_SECONDS,
    Seconds,
    owner,
    require_permanent,
)
from evsd.services.iam.routes.dependencies import UsesIam
from evsd.services.iam.routes.fields import Description, Id, no_content
from evsd.services.iam.style import IAM


class WantedToken(Model):
    """Create token. It ends with `access`, an access key of the caller's.

    That is the one which has signed, if none is named.
    """

    duration_seconds: Seconds = DEFAULT_SECONDS
    access: Id | None = None
    description: Description = ""


class CreateTokenBody(Model):
    """Create token."""

    token: Annotated[WantedToken, Field(default_factory=WantedToken)]


class Token(Model):
    """A token; times are UTC."""

    id: str
    user_id: str
    access: str | None
    description: str
    create_time: str
    expires_at: str


class CreatedToken(Token):
    """A token in clear: its value for X-Auth-Token."""

    token: str


class CreatedTokenResponse(Model):
    """Of create token."""

    token: CreatedToken


class TokensResponse(Model):
    """Of list tokens."""

    tokens: list[Token]


routes: Router = router(IAM, "IAM")
TOKENS, TOKEN = "/v3.0/OS-CREDENTIAL/tokens", "/v3.0/OS-CREDENTIAL/tokens/{token_id}"


@routes.post(TOKENS, status_code=201, **needs(IamPermission.OWN_TOKEN_CREATE))
def create_token(
    body: CreateTokenBody, call: Caller, caller: CallingPrincipal, iam: UsesIam
) -> CreatedTokenResponse:
    """A token that acts as the caller, for a quarter of an hour to a day; it is told only here."""
    require_permanent(caller)
    wanted = body.token
    made = iam.keys.call(
        call,
        operations.CreateToken(
            user_id=caller.id,
            access=wanted.access or caller.access or None,
            seconds=wanted.duration_seconds,
            description=wanted.description,
        ),
    )
    shown = dict(_shown(made.details))
    return CreatedTokenResponse(token=CreatedToken(**shown, token=made.token))


@routes.get(TOKENS, **needs(IamPermission.OWN_TOKEN_LIST, of_others=IamPermission.TOKEN_LIST))
def list_tokens(
    request: Request,
    call: Caller,
    caller: CallingPrincipal,
    iam: UsesIam,
    user_id: str | None = None,
) -> TokensResponse:
    """The tokens of a user that can be used, the caller's if none is named."""
    if user_id is not None:
        require_self_or_administrator(request, user_id)
        iam.users.user(caller, user_id)
    found = iam.keys.call(call, operations.ListTokens(user_id or caller.id))
    return TokensResponse(tokens=[_shown(token) for token in found])


@routes.delete(
    TOKEN,
    status_code=204,
    **needs(IamPermission.OWN_TOKEN_REVOKE, of_others=IamPermission.TOKEN_REVOKE),
)
def revoke_token(
    token_id: str, request: Request, call: Caller, caller: CallingPrincipal, iam: UsesIam
) -> Response:
    """End a token at once."""
    iam.keys.call(call, operations.RevokeToken(token_id[:64], owner(request, caller)))
    return no_content()


def _shown(token: operations.TokenDetails) -> Token:
    return Token(
        id=token.id,
        user_id=token.user_id,
        access=token.access,
        description=token.description,
        create_time=token.create_time,
        expires_at=token.expires_at,
    )
