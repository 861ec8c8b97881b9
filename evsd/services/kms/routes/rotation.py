"""Rotation of CMKs."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from evsd.api.router import Router, router
from evsd.api.routes import Caller, Model, UsesKeys, needs
from evsd.services.kms import operations
from evsd.services.kms.permissions import KmsPermission
from evsd.services.kms.routes.bodies import BASE, KeyBody, Nothing, published_time
from evsd.services.kms.style import KMS

MATERIAL_PRESENT = 2


class IntervalBody(KeyBody):
    """update-key-rotation-interval."""

    rotation_interval: Annotated[int, Field(ge=30, le=365)]


class Material(Model):
    """One version of a key."""

    material_id: str
    create_time: str
    expiration_time: str = ""
    state: int = MATERIAL_PRESENT


class RotationStatusResponse(Model):
    """Of get-key-rotation-status."""

    key_rotation_enabled: bool
    rotation_interval: int
    last_rotation_time: str
    number_of_rotations: int
    key_materials: list[Material]


class RotatedResponse(Model):
    """Of rotate-on-demand."""

    key_id: str


routes: Router = router(KMS, "KMS")


@routes.post(f"{BASE}/enable-key-rotation", **needs(KmsPermission.KEY_ROTATE))
async def enable_key_rotation(body: KeyBody, call: Caller, keys: UsesKeys) -> Nothing:
    """Rotate the key every 365 days from now on."""
    await keys.ask(call, operations.EnableKeyRotation(body.key_id))
    return Nothing()


@routes.post(f"{BASE}/disable-key-rotation", **needs(KmsPermission.KEY_ROTATE))
async def disable_key_rotation(body: KeyBody, call: Caller, keys: UsesKeys) -> Nothing:
    """Rotate the key no more."""
    await keys.ask(call, operations.DisableKeyRotation(body.key_id))
    return Nothing()


@routes.post(f"{BASE}/update-key-rotation-interval", **needs(KmsPermission.KEY_ROTATE))
async def update_key_rotation_interval(body: IntervalBody, call: Caller, keys: UsesKeys) -> Nothing:
    """Rotate the key more or less often."""
    wanted = operations.UpdateKeyRotationInterval(body.key_id, body.rotation_interval)
    await keys.ask(call, wanted)
    return Nothing()


@routes.post(f"{BASE}/get-key-rotation-status", **needs(KmsPermission.KEY_ROTATION_SHOW))
async def key_rotation_status(
    body: KeyBody, call: Caller, keys: UsesKeys
) -> RotationStatusResponse:
    """How often a key is rotated, and its versions; a material's id is KEY_ID/VERSION."""
    found = await keys.ask(call, operations.KeyRotationStatus(body.key_id))
    times = [published_time(created) for created in found.versions]
    return RotationStatusResponse(
        key_rotation_enabled=found.enabled,
        rotation_interval=found.interval_days,
        last_rotation_time=times[-1] if len(times) > 1 else "",
        number_of_rotations=max(len(times) - 1, 0),
        key_materials=[
            Material(material_id=f"{body.key_id}/{number}", create_time=created)
            for number, created in enumerate(times, 1)
        ],
    )


@routes.post(f"{BASE}/rotate-on-demand", **needs(KmsPermission.KEY_ROTATE))
async def rotate_on_demand(body: KeyBody, call: Caller, keys: UsesKeys) -> RotatedResponse:
    """Rotate the key at once."""
    return RotatedResponse(key_id=await keys.ask(call, operations.RotateOnDemand(body.key_id)))
