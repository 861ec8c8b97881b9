"""Transfers of volumes between projects: refused, as published of encrypted volumes.

Every volume here is encrypted, so there is none that could be shown, accepted or deleted.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from pydantic import Field

from evsd.api.fields import MAX_OFFSET, VolumeId
from evsd.api.router import Router, router
from evsd.api.routes import Caller, Model, needs
from evsd.services.evs.errors import TransferNotFound, VolumeNotTransferable
from evsd.services.evs.permissions import EvsPermission
from evsd.services.evs.routes.dependencies import UsesEvs
from evsd.services.evs.style import CINDER


class WantedTransfer(Model):
    """Create."""

    volume_id: VolumeId
    name: Annotated[str, Field(max_length=255)] | None = None


class CreateTransferBody(Model):
    """Create."""

    transfer: WantedTransfer


class Acceptance(Model):
    """Accept."""

    auth_key: Annotated[str, Field(max_length=255)]


class AcceptTransferBody(Model):
    """Accept."""

    accept: Acceptance


class TransfersResponse(Model):
    """Of list: none."""

    transfers: list[dict[str, Any]]


class TransfersQuery(Model):
    """Which part of the list."""

    limit: Annotated[int, Field(ge=1, le=1000)] = 1000
    offset: Annotated[int, Field(ge=0, le=MAX_OFFSET)] = 0


routes: Router = router(CINDER, "Cinder")
V2, V3 = "/v2/{project_id}/os-volume-transfer", "/v3/{project_id}/os-volume-transfer"
CREATING = {"status_code": 202, **needs(EvsPermission.TRANSFER_CREATE)}
ACCEPTING = {"status_code": 202, **needs(EvsPermission.TRANSFER_ACCEPT)}
DELETING = {"status_code": 202, **needs(EvsPermission.TRANSFER_DELETE)}
LISTING, SHOWING = needs(EvsPermission.TRANSFER_LIST), needs(EvsPermission.TRANSFER_SHOW)


@routes.post(V2, **CREATING)
@routes.post(V3, **CREATING)
def create_transfer(body: CreateTransferBody, call: Caller, evs: UsesEvs) -> None:
    """Refused: the volume is encrypted."""
    volume = evs.volumes.show(call.project_id, body.transfer.volume_id)
    raise VolumeNotTransferable(name=volume.name)


@routes.get(V2, **LISTING)
@routes.get(V3, **LISTING)
@routes.get(f"{V2}/detail", **LISTING)
@routes.get(f"{V3}/detail", **LISTING)
def list_transfers(_query: Annotated[TransfersQuery, Query()], _call: Caller) -> TransfersResponse:
    """There are none."""
    return TransfersResponse(transfers=[])


@routes.get(f"{V2}/{{transfer_id}}", **SHOWING)
@routes.get(f"{V3}/{{transfer_id}}", **SHOWING)
def show_transfer(transfer_id: str, _call: Caller) -> None:
    """There is no such transfer."""
    raise TransferNotFound(name=transfer_id[:64])


@routes.delete(f"{V2}/{{transfer_id}}", **DELETING)
@routes.delete(f"{V3}/{{transfer_id}}", **DELETING)
def delete_transfer(transfer_id: str, _call: Caller) -> None:
    """There is no such transfer."""
    raise TransferNotFound(name=transfer_id[:64])


@routes.post(f"{V2}/{{transfer_id}}/accept", **ACCEPTING)
@routes.post(f"{V3}/{{transfer_id}}/accept", **ACCEPTING)
def accept_transfer(transfer_id: str, _body: AcceptTransferBody, _call: Caller) -> None:
    """There is no such transfer."""
    raise TransferNotFound(name=transfer_id[:64])
