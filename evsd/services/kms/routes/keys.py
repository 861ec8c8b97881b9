"""CMKs: create, list, describe, enable, disable, delete, rename; quotas."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from evsd.api.fields import KeyId
from evsd.api.router import Router, router
from evsd.api.routes import Caller, Model, UsesKeys, UsesRegion, needs
from evsd.services.kms import operations
from evsd.services.kms.permissions import KmsPermission
from evsd.services.kms.routes.bodies import (
    BASE,
    Alias,
    Body,
    Description,
    KeyBody,
    KeyDetails,
    Number,
    PageBody,
    PageResponse,
    key_details,
    page_end,
    published_time,
)
from evsd.services.kms.style import KMS

# The published specs; keys here are AES_256, of the others there are none.
SPECS = (
    "ALL|AES_256|SM4|RSA_2048|RSA_3072|RSA_4096|EC_P256|EC_P384|SECP256K1|SM2|ED25519"
    "|HMAC_256|HMAC_384|HMAC_512|HMAC_SM3"
)


class CreateKeyBody(Body):
    """create-key."""

    key_alias: Alias
    key_description: Description = ""
    key_spec: Annotated[str, Field(pattern="^AES_256$")] = "AES_256"
    key_usage: Annotated[str, Field(pattern="^ENCRYPT_DECRYPT$")] = "ENCRYPT_DECRYPT"
    origin: Annotated[str, Field(pattern="^(kms|external)$")] = "kms"


class ListKeysBody(PageBody):
    """list-keys."""

    key_state: Annotated[str, Field(pattern="^[1-5]$")] | None = None
    key_spec: Annotated[str, Field(pattern=f"^({SPECS})$")] = "AES_256"
    enterprise_project_id: str | None = None


class ScheduleDeletionBody(KeyBody):
    """schedule-key-deletion."""

    pending_days: Annotated[Number, Field(ge=7, le=1096)]


class AliasBody(KeyBody):
    """update-key-alias."""

    key_alias: Alias


class DescriptionBody(KeyBody):
    """update-key-description."""

    key_description: Description


class CreatedKey(Model):
    """Of create-key."""

    key_id: str
    domain_id: str
    region_id: str


class CreateKeyResponse(Model):
    """Of create-key."""

    key_info: CreatedKey


class DescribeKeyResponse(Model):
    """Of describe-key."""

    key_info: KeyDetails


class ListKeysResponse(PageResponse):
    """Of list-keys."""

    keys: list[str]
    key_details: list[KeyDetails]


class KeyState(Model):
    """A key's new state; all that is answered to schedule- and cancel-key-deletion."""

    key_id: str
    key_state: str


class KeyStateResponse(Model):
    """Of enable-key and disable-key."""

    key_info: KeyState


class KeyAlias(Model):
    """A key's new alias."""

    key_id: KeyId
    key_alias: str


class KeyAliasResponse(Model):
    """Of update-key-alias."""

    key_info: KeyAlias


class KeyDescription(Model):
    """A key's new description."""

    key_id: KeyId
    key_description: str


class KeyDescriptionResponse(Model):
    """Of update-key-description."""

    key_info: KeyDescription


class Dependent(Model):
    """A thing that can't be read any more once the key is destroyed, since when, as of keys."""

    kind: str
    id: str
    name: str
    since: str


class DependentsResponse(Model):
    """Of list-key-dependents, newest first."""

    dependents: list[Dependent]


class Quota(Model):
    """One kind of thing, how many there are and may be."""

    type: str
    used: int
    quota: int


class Quotas(Model):
    """All kinds."""

    resources: list[Quota]


class QuotasResponse(Model):
    """Of user-quotas."""

    quotas: Quotas


class InstancesResponse(Model):
    """Of user-instances."""

    instance_num: int


routes: Router = router(KMS, "KMS")


@routes.post(f"{BASE}/create-key", **needs(KmsPermission.KEY_CREATE))
async def create_key(
    body: CreateKeyBody, call: Caller, keys: UsesKeys, region: UsesRegion
) -> CreateKeyResponse:
    """Make a CMK on the token, or a record that waits for imported material."""
    wanted = operations.CreateKey(body.key_alias, body.key_description, body.origin)
    key = await keys.ask(call, wanted)
    created = CreatedKey(key_id=key.key_id, domain_id=key.domain_id, region_id=region)
    return CreateKeyResponse(key_info=created)


@routes.post(f"{BASE}/list-keys", **needs(KmsPermission.KEY_LIST))
async def list_keys(
    call: Caller, keys: UsesKeys, region: UsesRegion, body: ListKeysBody | None = None
) -> ListKeysResponse:
    """One page of the project's keys; the marker is an offset."""
    page = body or ListKeysBody()
    of_every_key = page.enterprise_project_id in (None, "", "0", "all")
    none = page.key_spec not in ("AES_256", "ALL") or not of_every_key
    state = "none" if none else page.key_state
    listed = await keys.ask(call, operations.ListKeys(state, page.limit, page.marker))
    details = [key_details(key, region) for key in listed.keys]
    return ListKeysResponse(
        keys=[key.key_id for key in details],
        key_details=details,
        **page_end(page, len(details), listed.total),
    )


@routes.post(f"{BASE}/describe-key", **needs(KmsPermission.KEY_SHOW))
async def describe_key(
    body: KeyBody, call: Caller, keys: UsesKeys, region: UsesRegion
) -> DescribeKeyResponse:
    """Everything about one key."""
    key = await keys.ask(call, operations.DescribeKey(body.key_id))
    return DescribeKeyResponse(key_info=key_details(key, region))


@routes.post(f"{BASE}/list-key-dependents", **needs(KmsPermission.KEY_SHOW))
async def list_key_dependents(body: KeyBody, call: Caller, keys: UsesKeys) -> DependentsResponse:
    """What hangs on one key; an extension of the published API."""
    found = await keys.ask(call, operations.ListKeyDependents(body.key_id))
    dependents = [
        Dependent(kind=thing.kind, id=thing.id, name=thing.name, since=published_time(thing.since))
        for thing in found
    ]
    return DependentsResponse(dependents=dependents)


@routes.post(f"{BASE}/enable-key", **needs(KmsPermission.KEY_ENABLE))
async def enable_key(body: KeyBody, call: Caller, keys: UsesKeys) -> KeyStateResponse:
    """Let a disabled key be used again."""
    key = await keys.ask(call, operations.EnableKey(body.key_id))
    return KeyStateResponse(key_info=_state(key))


@routes.post(f"{BASE}/disable-key", **needs(KmsPermission.KEY_DISABLE))
async def disable_key(body: KeyBody, call: Caller, keys: UsesKeys) -> KeyStateResponse:
    """Let the key be used no more, until it is enabled."""
    key = await keys.ask(call, operations.DisableKey(body.key_id))
    return KeyStateResponse(key_info=_state(key))


@routes.post(f"{BASE}/schedule-key-deletion", **needs(KmsPermission.KEY_SCHEDULE_DELETION))
async def schedule_key_deletion(
    body: ScheduleDeletionBody, call: Caller, keys: UsesKeys
) -> KeyState:
    """Destroy the key, and with it all it encrypted, when the waiting period ends."""
    wanted = operations.ScheduleKeyDeletion(body.key_id, body.pending_days)
    return _state(await keys.ask(call, wanted))


@routes.post(f"{BASE}/cancel-key-deletion", **needs(KmsPermission.KEY_CANCEL_DELETION))
async def cancel_key_deletion(body: KeyBody, call: Caller, keys: UsesKeys) -> KeyState:
    """Keep the key after all; it is disabled then."""
    return _state(await keys.ask(call, operations.CancelKeyDeletion(body.key_id)))


@routes.post(f"{BASE}/update-key-alias", **needs(KmsPermission.KEY_UPDATE))
async def update_key_alias(body: AliasBody, call: Caller, keys: UsesKeys) -> KeyAliasResponse:
    """Rename a key."""
    key_id = await keys.ask(call, operations.UpdateKeyAlias(body.key_id, body.key_alias))
    return KeyAliasResponse(key_info=KeyAlias(key_id=key_id, key_alias=body.key_alias))


@routes.post(f"{BASE}/update-key-description", **needs(KmsPermission.KEY_UPDATE))
async def update_key_description(
    body: DescriptionBody, call: Caller, keys: UsesKeys
) -> KeyDescriptionResponse:
    """Describe a key anew."""
    wanted = operations.UpdateKeyDescription(body.key_id, body.key_description)
    described = KeyDescription(
        key_id=await keys.ask(call, wanted), key_description=body.key_description
    )
    return KeyDescriptionResponse(key_info=described)


@routes.get(f"{BASE}/user-quotas", **needs(KmsPermission.KEY_QUOTA_SHOW))
async def user_quotas(call: Caller, keys: UsesKeys) -> QuotasResponse:
    """How many keys and grants a project has and may have."""
    found = await keys.ask(call, operations.UserQuotas())
    kinds = {"CMK": found.keys, "grant_per_CMK": found.grants_per_key}
    resources = [Quota(type=kind, used=of.used, quota=of.quota) for kind, of in kinds.items()]
    return QuotasResponse(quotas=Quotas(resources=resources))


@routes.get(f"{BASE}/user-instances", **needs(KmsPermission.KEY_QUOTA_SHOW))
async def user_instances(call: Caller, keys: UsesKeys) -> InstancesResponse:
    """How many keys the project has, default ones apart."""
    found = await keys.ask(call, operations.UserQuotas())
    return InstancesResponse(instance_num=found.keys.used)


def _state(key: operations.StateOfKey) -> KeyState:
    return KeyState(key_id=key.key_id, key_state=key.state)
