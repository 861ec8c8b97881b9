"""Volume types and availability zones, as EVS publishes and OpenStack's clients ask for them."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from pydantic import ConfigDict

from evsd.api.router import Router, router
from evsd.api.routes import Caller, Model, UsesHost, needs
from evsd.services.evs.errors import VolumeTypeNotFound
from evsd.services.evs.permissions import EvsPermission
from evsd.services.evs.routes.volume_filters import AllTenants, Perhaps
from evsd.services.evs.style import CINDER
from evsd.services.evs.volumes.types import DEFAULT, TYPES, VolumeType, find_type


class TypeView(Model):
    """A volume type as published."""

    id: str
    name: str
    description: str
    extra_specs: dict[str, str]
    qos_specs_id: str | None = None
    is_public: bool = True


class TypesResponse(Model):
    """Of list types."""

    volume_types: list[TypeView]


class TypeResponse(Model):
    """Of show type."""

    volume_type: TypeView


class SpecsResponse(Model):
    """Of list extra specs."""

    extra_specs: dict[str, str]


class EncryptionView(Model):
    """How volumes of a type are encrypted, in Cinder's words; the key's size is in bits."""

    volume_type_id: str
    provider: str = "luks2"
    cipher: str = "aes-xts-plain64"
    key_size: int = 512
    control_location: str = "back-end"


class ZoneState(Model):
    """Whether a zone can be used."""

    available: bool = True


class ZoneView(Model):
    """An availability zone as published."""

    zoneName: str  # noqa: N815 - as published
    zoneState: ZoneState  # noqa: N815


class ZonesResponse(Model):
    """Of list availability zones: one."""

    availabilityZoneInfo: list[ZoneView]  # noqa: N815


class TypesQuery(Model):
    """OpenStack's clients ask for types that are public, and others if there are."""

    model_config = ConfigDict(extra="forbid")

    is_public: Perhaps = None
    name: str | None = None
    all_tenants: AllTenants = None

    def wants(self, kind: VolumeType) -> bool:
        """Whether it is one of those that are asked for."""
        return self.is_public is not False and self.name in (None, kind.name)


routes: Router = router(CINDER, "Cinder")
SHOWING = needs(EvsPermission.TYPE_SHOW)
V2, V3 = "/v2/{project_id}", "/v3/{project_id}"


@routes.get(f"{V2}/types", **SHOWING)
@routes.get(f"{V3}/types", **SHOWING)
def list_types(
    query: Annotated[TypesQuery, Query()], _call: Caller, host: UsesHost
) -> TypesResponse:
    """All volume types; they differ by their names alone."""
    wanted = filter(query.wants, TYPES.values())
    return TypesResponse(volume_types=[_view(kind, host.zone) for kind in wanted])


@routes.get(f"{V2}/types/default", **SHOWING)
@routes.get(f"{V3}/types/default", **SHOWING)
def show_default_type(_call: Caller, host: UsesHost) -> TypeResponse:
    """The type of a volume that is made without one."""
    return TypeResponse(volume_type=_view(DEFAULT, host.zone))


@routes.get(f"{V2}/types/{{type_id}}", **SHOWING)
@routes.get(f"{V3}/types/{{type_id}}", **SHOWING)
def show_type(type_id: str, _call: Caller, host: UsesHost) -> TypeResponse:
    """One volume type, by id or name."""
    return TypeResponse(volume_type=_view(find_type(type_id), host.zone))


@routes.get(f"{V2}/types/{{type_id}}/extra_specs", **SHOWING)
@routes.get(f"{V3}/types/{{type_id}}/extra_specs", **SHOWING)
def list_extra_specs(type_id: str, _call: Caller, host: UsesHost) -> SpecsResponse:
    """What is said of a volume type."""
    return SpecsResponse(extra_specs=_specs(find_type(type_id), host.zone))


@routes.get(f"{V2}/types/{{type_id}}/extra_specs/{{key}}", **SHOWING)
@routes.get(f"{V3}/types/{{type_id}}/extra_specs/{{key}}", **SHOWING)
def show_extra_spec(type_id: str, key: str, _call: Caller, host: UsesHost) -> dict[str, str]:
    """One thing that is said of a volume type."""
    specs = _specs(find_type(type_id), host.zone)
    if key not in specs:
        raise VolumeTypeNotFound(value=f"{type_id[:64]} with {key[:64]}")
    return {key: specs[key]}


@routes.get(f"{V2}/types/{{type_id}}/encryption", **SHOWING)
@routes.get(f"{V3}/types/{{type_id}}/encryption", **SHOWING)
def show_encryption(type_id: str, _call: Caller) -> EncryptionView:
    """How volumes of a type are encrypted: all are, in the same way."""
    return EncryptionView(volume_type_id=find_type(type_id).id)


@routes.get(f"{V2}/os-availability-zone", **SHOWING)
@routes.get(f"{V3}/os-availability-zone", **SHOWING)
def list_zones(_call: Caller, host: UsesHost) -> ZonesResponse:
    """The availability zone in which volumes are made."""
    zone = ZoneView(zoneName=host.zone, zoneState=ZoneState())
    return ZonesResponse(availabilityZoneInfo=[zone])


def _view(kind: VolumeType, zone: str) -> TypeView:
    return TypeView(
        id=kind.id, name=kind.name, description=kind.description, extra_specs=_specs(kind, zone)
    )


def _specs(kind: VolumeType, zone: str) -> dict[str, str]:
    return {
        "volume_backend_name": kind.name,
        "availability-zone": zone,
        "HW:availability_zone": zone,
        "RESKEY:availability_zones": zone,
        "os-vendor-extended:sold_out_availability_zones": "",
    }
