"""Rotation of CMKs."""

from __future__ import annotations

from typing import Annotated

from fastapi.routing import APIRouter
from pydantic import Field

from evsd.api import errors
from evsd.api.kms.bodies import BASE, KeyBody, Nothing
from evsd.api.routes import Caller, Model, UsesServices, needs, router
from evsd.iam.policy import Permission

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


routes: APIRouter = router(errors.KMS, "KMS")


@routes.post(f"{BASE}/enable-key-rotation", **needs(Permission.KEY_ROTATE))
async def enable_key_rotation(body: KeyBody, call: Caller, services: UsesServices) -> Nothing:
    """Rotate the key every 365 days from now on."""
    await services.keys.ask("enable_key_rotation", call, key_id=body.key_id)
    return Nothing()


@routes.post(f"{BASE}/disable-key-rotation", **needs(Permission.KEY_ROTATE))
async def disable_key_rotation(body: KeyBody, call: Caller, services: UsesServices) -> Nothing:
    """Rotate the key no more."""
    await services.keys.ask("disable_key_rotation", call, key_id=body.key_id)
    return Nothing()


@routes.post(f"{BASE}/update-key-rotation-interval", **needs(Permission.KEY_ROTATE))
async def update_key_rotation_interval(
    body: IntervalBody, call: Caller, services: UsesServices
) -> Nothing:
    """Rotate the key more or less often."""
    await services.keys.ask(
        "update_key_rotation_interval", call, key_id=body.key_id, days=body.rotation_interval
    )
    return Nothing()


@routes.post(f"{BASE}/get-key-rotation-status", **needs(Permission.KEY_ROTATION_SHOW))
async def key_rotation_status(
    body: KeyBody, call: Caller, services: UsesServices
) -> RotationStatusResponse:
    """How often a key is rotated, and its versions; a material's id is KEY_ID/VERSION."""
    found = await services.keys.ask("key_rotation_status", call, key_id=body.key_id)
    materials = [
        Material(material_id=f"{body.key_id}/{number}", create_time=created)
        for number, created in enumerate(found.pop("versions"), 1)
    ]
    return RotationStatusResponse(**found, key_materials=materials)


@routes.post(f"{BASE}/rotate-on-demand", **needs(Permission.KEY_ROTATE))
async def rotate_on_demand(body: KeyBody, call: Caller, services: UsesServices) -> RotatedResponse:
    """Rotate the key at once."""
    return RotatedResponse(**await services.keys.ask("rotate_on_demand", call, key_id=body.key_id))
