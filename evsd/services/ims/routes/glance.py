"""Glance's v2, which IMS publishes beside its own: images, and sending their data."""

from __future__ import annotations

from asyncio import CancelledError
from typing import Annotated, Any
from urllib.parse import urlencode

from anyio import CancelScope
from anyio.to_thread import run_sync as to_thread
from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import ConfigDict, Field

from evsd.api.router import Router, router
from evsd.api.routes import Caller, Model, needs
from evsd.api.streaming import pieces, streamed
from evsd.errors import BodyBrokenOff, PublishedError
from evsd.services.ims.errors import (
    ImageInterrupted,
    ImageNotExportable,
    ImageNotShareable,
    ImsFieldInvalid,
)
from evsd.services.ims.new_images import NewImage
from evsd.services.ims.permissions import ImsPermission
from evsd.services.ims.routes.changes import apply, properties_of, read_changes
from evsd.services.ims.routes.dependencies import UsesIms
from evsd.services.ims.routes.fields import (
    ContainerFormat,
    Description,
    DiskFormat,
    ImageName,
    MinDisk,
    MinRam,
    Protected,
    Tags,
    key_id,
    unique,
)
from evsd.services.ims.routes.filters import page_of
from evsd.services.ims.routes.views import CMK_ID, DESCRIPTION, View, view
from evsd.services.ims.style import IMS


class QueueBody(Model):
    """Create. What is not named here is a property; `__system__cmkid` names the key."""

    model_config = ConfigDict(extra="allow")

    name: ImageName | None = None
    disk_format: DiskFormat | None = None
    container_format: ContainerFormat | None = None
    min_disk: MinDisk = 0
    min_ram: MinRam = 0
    protected: Protected = False
    visibility: str = "private"
    tags: Annotated[Tags, Field(default_factory=list)]
    description: Annotated[Description, Field(alias=DESCRIPTION)] = ""
    cmk_id: Annotated[Any, Field(alias=CMK_ID)] = None

    def new_image(self, project_id: str) -> NewImage:
        """The same for the service."""
        if self.visibility != "private":
            raise ImageNotShareable(name=self.name or "")
        return NewImage(
            name=self.name,
            description=self.description,
            cmk_id=key_id(self.cmk_id),
            disk_format=self.disk_format,
            container_format=self.container_format,
            min_disk=self.min_disk,
            min_ram=self.min_ram,
            protected=self.protected,
            properties=properties_of(self.model_extra or {}, project_id),
            tags=unique(self.tags),
        )


routes: Router = router(IMS, "Glance")
UPLOADING = streamed(needs(ImsPermission.IMAGE_UPLOAD))


@routes.post("/v2/images", status_code=201, **needs(ImsPermission.IMAGE_CREATE))
def queue_image(body: QueueBody, call: Caller, ims: UsesIms, response: Response) -> View:
    """An image that waits for its data; it has its key from now on."""
    image = ims.new_images.queue(call, body.new_image(call.project_id))
    response.headers["location"] = f"/v2/images/{image.id}"
    return view(image)


@routes.put("/v2/images/{image_id}/file", status_code=204, **UPLOADING)
async def upload_image(image_id: str, request: Request, call: Caller, ims: UsesIms) -> Response:
    """Send the file of which the image is to be made; answered when the image is active.

    It is whole, or refused: then the image waits for its data as before.
    """
    # Not in the threads of all routes: an image of any size keeps its thread until it is made.
    taking, making = ims.taking, ims.making
    upload = await to_thread(ims.uploads.begin, call, image_id, _length(request), limiter=taking)
    try:
        async for piece in pieces(request):
            await to_thread(upload.write, piece, limiter=taking)
    except BaseException as error:
        reason = error if isinstance(error, PublishedError) else BodyBrokenOff()
        with CancelScope(shield=True):
            await to_thread(upload.abandon, reason, limiter=taking)
        raise
    try:
        await to_thread(upload.finish, limiter=making, abandon_on_cancel=True)
    except CancelledError as stopped:  # an evsd that stops waits for no image: it is resumed
        raise ImageInterrupted(name=upload.name) from stopped
    return Response(status_code=204)


@routes.get("/v2/images/{image_id}/file", **needs(ImsPermission.IMAGE_EXPORT))
def download_image(image_id: str, call: Caller, ims: UsesIms) -> Response:
    """Refused: an encrypted image is not exported."""
    raise ImageNotExportable(name=ims.library.show(call.project_id, image_id).name)


@routes.get("/v2/images", **needs(ImsPermission.IMAGE_LIST))
def list_images(request: Request, call: Caller, ims: UsesIms) -> dict[str, Any]:
    """One page of the project's images."""
    page = page_of(request, ims.library.all_of(call.project_id))
    answer: dict[str, Any] = {"images": page.images, "schema": "/v2/schemas/images"}
    query = [each for each in request.query_params.multi_items() if each[0] != "marker"]
    answer["first"] = "/v2/images" + (f"?{urlencode(query)}" if query else "")
    if page.next_marker is not None:
        answer["next"] = f"/v2/images?{urlencode([*query, ('marker', page.next_marker)])}"
    return answer


@routes.get("/v2/images/{image_id}", **needs(ImsPermission.IMAGE_SHOW))
def show_image(image_id: str, call: Caller, ims: UsesIms) -> View:
    """One image."""
    return view(ims.library.show(call.project_id, image_id))


@routes.patch("/v2/images/{image_id}", **needs(ImsPermission.IMAGE_UPDATE))
@routes.patch("/v2/cloudimages/{image_id}", **needs(ImsPermission.IMAGE_UPDATE))
async def update_image(image_id: str, request: Request, call: Caller, ims: UsesIms) -> View:
    """Change name, description, tags, protection, min_disk, min_ram and properties."""
    changes = read_changes(await request.body())
    changed = await run_in_threadpool(
        ims.library.change, call.project_id, image_id, lambda image: apply(changes, image)
    )
    return view(changed)


@routes.delete("/v2/images/{image_id}", status_code=204, **needs(ImsPermission.IMAGE_DELETE))
def delete_image(image_id: str, call: Caller, ims: UsesIms) -> Response:
    """Destroy an image and the wrapped key with it; volumes made of it stay."""
    ims.library.delete(call.project_id, image_id)
    return Response(status_code=204)


def _length(request: Request) -> int | None:
    """How many bytes will come, as far as the client says so."""
    for name in ("content-length", "x-openstack-image-size"):
        text = request.headers.get(name)
        if text is not None:
            if not text.isdecimal():
                raise ImsFieldInvalid(field=name, value=text[:64], reason="a number of bytes")
            return int(text)
    return None
