"""Tags of images as IMS has them, a key and a value: for Glance they are ``key=value``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Response
from pydantic import AfterValidator, Field

from evsd.api.fields import printable
from evsd.api.router import Router, router
from evsd.api.routes import Caller, Model, needs
from evsd.services.ims.errors import ImageTagNotFound, ImageTagQuotaExceeded, ImsRequestInvalid
from evsd.services.ims.limits import TAG_LIMIT
from evsd.services.ims.permissions import ImsPermission
from evsd.services.ims.routes.dependencies import UsesIms
from evsd.services.ims.routes.fields import Tag
from evsd.services.ims.style import IMS
from evsd.services.ims.tables import Image


def _key(value: str) -> str:
    if "=" in value:
        raise ValueError("there is no = in a key")
    return printable(value)


class Pair(Model):
    """A tag; of one to remove the key counts."""

    key: Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_key)]
    value: Annotated[str, Field(max_length=126), AfterValidator(printable)] = ""


class PairBody(Model):
    """Add a tag."""

    tag: Pair


class PairsBody(Model):
    """Add or remove several."""

    action: Literal["create", "delete"]
    tags: Annotated[list[Pair], Field(min_length=1, max_length=TAG_LIMIT)]


class AnyImageBody(Model):
    """Add a tag in either form."""

    image_id: str
    tag: Tag | None = None
    image_tag: Pair | None = None


routes: Router = router(IMS, "IMS")
ONE = "/v2/{project_id}/images/{image_id}/tags"
READING = needs(ImsPermission.IMAGE_SHOW)
CHANGING = {**needs(ImsPermission.IMAGE_UPDATE), "status_code": 204}


@routes.get("/v1/cloudimages/tags", **needs(ImsPermission.IMAGE_LIST))
def list_tags(call: Caller, ims: UsesIms) -> dict[str, list[str]]:
    """All tags of the project's images, in Glance's form."""
    found = {tag for image in ims.library.all_of(call.project_id) for tag in image.tags}
    return {"tags": sorted(found)}


@routes.put("/v1/cloudimages/tags", **CHANGING)
def put_tag(body: AnyImageBody, call: Caller, ims: UsesIms) -> Response:
    """Add a tag, or give it another value."""
    if (body.tag is None) == (body.image_tag is None):
        raise ImsRequestInvalid(reason="either tag or image_tag is given")
    key, _, value = (body.tag or "").partition("=")
    if body.tag is not None and not key:
        raise ImsRequestInvalid(reason="a tag begins with its key")
    pair = body.image_tag or Pair.model_construct(key=key, value=value)
    _change(ims, call, body.image_id, "create", [pair])
    return Response(status_code=204)


@routes.get("/v2/{project_id}/images/tags", **needs(ImsPermission.IMAGE_LIST))
def list_pairs(call: Caller, ims: UsesIms) -> dict[str, Any]:
    """All tags of the project's images, each with its values."""
    found: dict[str, set[str]] = {}
    for image in ims.library.all_of(call.project_id):
        for key, value in _pairs(image).items():
            found.setdefault(key, set()).add(value)
    return {"tags": [{"key": key, "values": sorted(found[key])} for key in sorted(found)]}


@routes.get(ONE, **READING)
def list_pairs_of(image_id: str, call: Caller, ims: UsesIms) -> dict[str, Any]:
    """The tags of one image."""
    pairs = _pairs(ims.library.show(call.project_id, image_id))
    return {"tags": [{"key": key, "value": value} for key, value in pairs.items()]}


@routes.post(ONE, **CHANGING)
def add_pair(image_id: str, body: PairBody, call: Caller, ims: UsesIms) -> Response:
    """Add a tag, or give it another value."""
    _change(ims, call, image_id, "create", [body.tag])
    return Response(status_code=204)


@routes.post(f"{ONE}/action", **CHANGING)
def change_pairs(image_id: str, body: PairsBody, call: Caller, ims: UsesIms) -> Response:
    """Add or remove several; all or none."""
    _change(ims, call, image_id, body.action, body.tags)
    return Response(status_code=204)


@routes.delete(f"{ONE}/{{key}}", **CHANGING)
def remove_pair(image_id: str, key: str, call: Caller, ims: UsesIms) -> Response:
    """Take a tag away."""
    _change(ims, call, image_id, "delete", [Pair.model_construct(key=key, value="")])
    return Response(status_code=204)


def _change(ims: UsesIms, call: Caller, image_id: str, action: str, wanted: list[Pair]) -> None:
    def change(image: Image) -> None:
        pairs = _pairs(image)
        for pair in wanted:
            if action == "create":
                pairs[pair.key] = pair.value
            elif pairs.pop(pair.key, None) is None:
                raise ImageTagNotFound(name=image.name, tag=pair.key[:64])
        if len(pairs) > TAG_LIMIT:
            raise ImageTagQuotaExceeded(name=image.name, limit=TAG_LIMIT, what="tags")
        image.tags = [f"{key}={value}" if value else key for key, value in pairs.items()]

    ims.library.change(call.project_id, image_id, change)


def _pairs(image: Image) -> dict[str, str]:
    found = (tag.partition("=") for tag in image.tags)
    return {key: value for key, _, value in found}
