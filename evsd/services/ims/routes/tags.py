"""Tags of images, as Glance has them."""

from __future__ import annotations

from fastapi import Response

from evsd.api.router import Router, router
from evsd.api.routes import Caller, needs
from evsd.services.ims.errors import ImageTagNotFound, ImageTagQuotaExceeded
from evsd.services.ims.limits import TAG_LIMIT
from evsd.services.ims.permissions import ImsPermission
from evsd.services.ims.routes.dependencies import UsesIms
from evsd.services.ims.routes.fields import Tag
from evsd.services.ims.style import IMS
from evsd.services.ims.tables import Image

routes: Router = router(IMS, "Glance")
CHANGING = {**needs(ImsPermission.IMAGE_UPDATE), "status_code": 204}


@routes.put("/v2/images/{image_id}/tags/{tag}", **CHANGING)
def add_tag(image_id: str, tag: Tag, call: Caller, ims: UsesIms) -> Response:
    """Add a tag; nothing happens where the image has it."""

    def add(image: Image) -> None:
        if tag in image.tags:
            return
        if len(image.tags) >= TAG_LIMIT:
            raise ImageTagQuotaExceeded(name=image.name, limit=TAG_LIMIT, what="tags")
        image.tags = [*image.tags, tag]

    ims.library.change(call.project_id, image_id, add)
    return Response(status_code=204)


@routes.delete("/v2/images/{image_id}/tags/{tag}", **CHANGING)
def remove_tag(image_id: str, tag: str, call: Caller, ims: UsesIms) -> Response:
    """Take a tag away."""

    def remove(image: Image) -> None:
        if tag not in image.tags:
            raise ImageTagNotFound(name=image.name, tag=tag[:64])
        image.tags = [each for each in image.tags if each != tag]

    ims.library.change(call.project_id, image_id, remove)
    return Response(status_code=204)
