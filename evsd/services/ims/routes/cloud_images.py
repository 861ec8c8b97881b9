"""IMS's own paths: lists, images of volumes, copies, and what is refused."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Request
from pydantic import Field

from evsd.api.router import Router, router
from evsd.api.routes import Caller, Model, needs
from evsd.services.ims.errors import (
    ImageInstanceUnknown,
    ImageNotExportable,
    ImageObjectNotFound,
    ImsFieldMissing,
    ImsRequestInvalid,
)
from evsd.services.ims.new_images import NewImage
from evsd.services.ims.permissions import ImsPermission
from evsd.services.ims.routes.dependencies import UsesIms
from evsd.services.ims.routes.fields import (
    Description,
    ImageName,
    MinDisk,
    MinRam,
    Tag,
    Tags,
    key_id,
    unique,
)
from evsd.services.ims.routes.filters import page_of
from evsd.services.ims.routes.views import View
from evsd.services.ims.style import IMS


class KeyValueTag(Model):
    """A tag as key and value; as Glance has it, it is ``key=value``."""

    key: Tag
    value: str = ""


class DataImage(Model):
    """An image of a data volume."""

    name: ImageName
    volume_id: str
    description: Description = ""
    tags: Annotated[Tags, Field(default_factory=list)]


class ImageJobAnswer(Model):
    """Poll the job: its entities have the image's id."""

    job_id: str


class PageInfo(Model):
    """Where the next page begins."""

    next_marker: str | None = None


class ListImagesResponse(Model):
    """Of list."""

    images: list[View]
    page_info: PageInfo


class CreateImageBody(Model):
    """Create: of a server, a volume, data volumes or an object."""

    name: ImageName | None = None
    description: Description = ""
    instance_id: str | None = None
    volume_id: str | None = None
    data_images: list[DataImage] | None = None
    image_url: str | None = None
    cmk_id: str | None = None
    min_disk: MinDisk = 0
    min_ram: MinRam = 0
    os_version: str | None = None
    tags: Annotated[Tags, Field(default_factory=list)]
    image_tags: Annotated[list[KeyValueTag], Field(default_factory=list)]

    @property
    def image_of_volume(self) -> tuple[NewImage, str]:
        """What is wanted, and of which volume; raises what else is refused with."""
        if self.instance_id is not None:
            raise ImageInstanceUnknown(value=self.instance_id[:64])
        if self.image_url is not None:
            raise ImageObjectNotFound(url=self.image_url[:128])
        if self.cmk_id is not None:
            raise ImsRequestInvalid(reason="cmk_id: an image of a volume has the volume's key")
        tags = [*self.tags, *(f"{tag.key}={tag.value}" for tag in self.image_tags)]
        if self.data_images is not None:
            return self._of_data_images(tags)
        if self.volume_id is None:
            raise ImsFieldMissing(field="volume_id")
        if self.name is None:
            raise ImsFieldMissing(field="name")
        return self._new(self.name, self.description, tags), self.volume_id

    def _of_data_images(self, tags: list[str]) -> tuple[NewImage, str]:
        assert self.data_images is not None  # noqa: S101 - just looked at
        if len(self.data_images) != 1:
            raise ImsRequestInvalid(reason="data_images: one image at a time is made here")
        (one,) = self.data_images
        new = self._new(one.name, one.description or self.description, [*one.tags, *tags])
        return new, one.volume_id

    def _new(self, name: str, description: str, tags: list[str]) -> NewImage:
        properties = {} if self.os_version is None else {"__os_version": self.os_version[:255]}
        return NewImage(
            name=name,
            description=description,
            min_disk=self.min_disk,
            min_ram=self.min_ram,
            tags=unique(tags),
            properties=properties,
        )


class OfObjectBody(Model):
    """Create of an object, in one of the ways there are."""

    name: ImageName
    image_url: Annotated[str, Field(min_length=1)]
    cmk_id: str | None = None


class RegisterBody(Model):
    """Send the data of an image by way of an object."""

    image_url: Annotated[str, Field(min_length=1)]


class ExportBody(Model):
    """Export to an object."""

    bucket_url: str
    file_format: str


class CopyBody(Model):
    """Copy; without `cmk_id` under the same key."""

    name: ImageName
    description: Description = ""
    cmk_id: str | None = None


routes: Router = router(IMS, "IMS")
CREATING = needs(ImsPermission.IMAGE_CREATE)


@routes.get("/v2/cloudimages", response_model_exclude_none=True, **needs(ImsPermission.IMAGE_LIST))
def list_cloud_images(request: Request, call: Caller, ims: UsesIms) -> ListImagesResponse:
    """One page of the project's images, newest first unless told otherwise."""
    page = page_of(request, ims.library.all_of(call.project_id))
    return ListImagesResponse(images=page.images, page_info=PageInfo(next_marker=page.next_marker))


@routes.post("/v2/cloudimages/action", **CREATING)
@routes.post("/v2.1/cloudimages/action", **CREATING)
def create_cloud_image(body: CreateImageBody, call: Caller, ims: UsesIms) -> ImageJobAnswer:
    """Make an image of a volume, under that one's key."""
    wanted, volume_id = body.image_of_volume
    job = ims.new_images.of_volume(call, wanted, volume_id)
    return ImageJobAnswer(job_id=ims.new_images.start(job).id)


@routes.post("/v1/cloudimages/dataimages/action", **CREATING)
@routes.post("/v2.1/cloudimages/dataimages/action", **CREATING)
@routes.post("/v2/cloudimages/quickimport/action", **CREATING)
@routes.post("/v2.1/cloudimages/quickimport/action", **CREATING)
def create_image_of_object(body: OfObjectBody) -> ImageJobAnswer:
    """Refused: there is no object service here."""
    key_id(body.cmk_id)
    raise ImageObjectNotFound(url=body.image_url[:128])


@routes.put("/v1/cloudimages/{image_id}/upload", **needs(ImsPermission.IMAGE_UPLOAD))
def register_image(image_id: str, body: RegisterBody, call: Caller, ims: UsesIms) -> ImageJobAnswer:
    """Refused: there is no object service here."""
    ims.library.show(call.project_id, image_id)
    raise ImageObjectNotFound(url=body.image_url[:128])


@routes.post("/v1/cloudimages/{image_id}/file", **needs(ImsPermission.IMAGE_EXPORT))
@routes.post("/v2.1/cloudimages/{image_id}/file", **needs(ImsPermission.IMAGE_EXPORT))
def export_image(image_id: str, body: ExportBody, call: Caller, ims: UsesIms) -> ImageJobAnswer:
    """Refused: an encrypted image is not exported."""
    del body
    raise ImageNotExportable(name=ims.library.show(call.project_id, image_id).name)


@routes.post("/v1/cloudimages/{image_id}/copy", **needs(ImsPermission.IMAGE_COPY))
@routes.post("/v2.1/cloudimages/{image_id}/copy", **needs(ImsPermission.IMAGE_COPY))
def copy_image(image_id: str, body: CopyBody, call: Caller, ims: UsesIms) -> ImageJobAnswer:
    """Copy an image, which encrypts it anew under another key, or its own."""
    wanted = NewImage(body.name, body.description, key_id(body.cmk_id))
    job = ims.new_images.copy(call, wanted, image_id)
    return ImageJobAnswer(job_id=ims.new_images.start(job).id)


@routes.get("/v1/cloudimages/quota", **needs(ImsPermission.IMAGE_QUOTA_SHOW))
def show_image_quota(call: Caller, ims: UsesIms) -> dict[str, Any]:
    """How many images a project has; how many it may have is not limited."""
    used = len(ims.library.all_of(call.project_id))
    resource = {"type": "image", "used": used, "quota": -1, "min": -1, "max": -1}
    return {"quotas": {"resources": [resource]}}
