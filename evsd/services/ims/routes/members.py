"""Sharing, which encrypted images refuse as published: they have no members."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from evsd.api.router import Router, router
from evsd.api.routes import Caller, Model, needs
from evsd.services.ims.errors import ImageMemberNotFound, ImageNotShareable
from evsd.services.ims.permissions import ImsPermission
from evsd.services.ims.routes.dependencies import UsesIms
from evsd.services.ims.style import IMS


class BatchBody(Model):
    """Several images, to be shared with several projects or not any more."""

    images: Annotated[list[str], Field(min_length=1, max_length=50)]


class MemberBody(Model):
    """One project to share with."""

    member: str


routes: Router = router(IMS, "IMS")
SHARING, LOOKING = needs(ImsPermission.IMAGE_SHARE), needs(ImsPermission.IMAGE_SHOW)
ONE = "/v2/images/{image_id}/members/{member_id}"


@routes.post("/v1/cloudimages/members", **SHARING)
@routes.put("/v1/cloudimages/members", **SHARING)
@routes.delete("/v1/cloudimages/members", **SHARING)
def change_members(body: BatchBody, call: Caller, ims: UsesIms) -> dict[str, Any]:
    """Refused."""
    raise ImageNotShareable(name=ims.library.show(call.project_id, body.images[0]).name)


@routes.post("/v2/images/{image_id}/members", **SHARING)
def add_member(image_id: str, body: MemberBody, call: Caller, ims: UsesIms) -> dict[str, Any]:
    """Refused."""
    del body
    raise ImageNotShareable(name=ims.library.show(call.project_id, image_id).name)


@routes.get("/v2/images/{image_id}/members", **LOOKING)
def list_members(image_id: str, call: Caller, ims: UsesIms) -> dict[str, Any]:
    """Nobody."""
    ims.library.show(call.project_id, image_id)
    return {"members": [], "schema": "/v2/schemas/members"}


@routes.get(ONE, **LOOKING)
@routes.put(ONE, **SHARING)
@routes.delete(ONE, **SHARING)
def find_member(image_id: str, member_id: str, call: Caller, ims: UsesIms) -> dict[str, Any]:
    """There is none."""
    del member_id
    raise ImageMemberNotFound(name=ims.library.show(call.project_id, image_id).name)
