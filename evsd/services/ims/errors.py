"""Every error of IMS: its published code, status, message and remedy."""

from __future__ import annotations

from evsd.errors import PublishedError
from evsd.services.ims.limits import MAX_DISK_GIB, PAGE_LIMIT


class ImsError(PublishedError):
    """Base of what the image service can answer."""


class ImsRequestInvalid(ImsError):
    code, status = "IMG.0001", 400
    template = "bad request: {reason}"


class ImsBodyInvalid(ImsRequestInvalid):
    template = "the request body can't be read: {reason}"


class ImsFieldInvalid(ImsRequestInvalid):
    template = "bad {field} {value!r}: {reason}"


class ImsFieldMissing(ImsRequestInvalid):
    template = "{field} is missing"


class ImageNameInvalid(ImsError):
    code, status = "IMG.0003", 400
    template = "bad image name {value!r}: {reason}"


class ImageNameTaken(ImsError):
    code, status = "IMG.0009", 400
    template = "an image named {name} exists already in this project"
    remedy_template = "choose another name, or delete that image"


class ImageFormatInvalid(ImsError):
    code, status = "IMG.0072", 400
    template = "bad disk_format {value!r}: {reason}"


class MinDiskInvalid(ImsError):
    code, status = "IMG.0171", 400
    template = f"bad min_disk {{value!r}}: whole GiB from 1 to {MAX_DISK_GIB}"


class MinDiskTooSmall(ImsError):
    code, status = "IMG.0171", 400
    template = "min_disk {value} GiB is less than the {needed} GiB of the disk in image {name}"


class ImageLimitInvalid(ImsError):
    code, status = "IMG.0001", 400
    template = f"bad limit {{value!r}}: 0 to {PAGE_LIMIT}"


class ImageMarkerUnknown(ImsError):
    code, status = "IMG.0001", 400
    template = "there is no image {value!r}, after which the list would go on"
    remedy_template = "list from the beginning: the image was deleted meanwhile"


class ImageNotFound(ImsError):
    code, status = "IMG.0027", 404
    template = "image {name} does not exist"
    remedy_template = "`evsctl image list` shows the images of this project"


class ImageProtected(ImsError):
    code, status = "IMG.0028", 403
    template = "image {name} is protected, so it is not deleted"
    remedy_template = "set protected to false first"


class ImageBusy(ImsError):
    code, status = "IMG.0090", 409
    template = "image {name} is {status}: {reason}"
    remedy_template = "evsctl image show {name} tells what it is like"


class ImageUnavailable(ImsError):
    code, status = "IMG.0046", 400
    template = "image {name} is {status}, only an active one can be used"
    remedy_template = "evsctl image show {name} tells what it is like"


class ImageInUse(ImsError):
    code, status = "IMG.0046", 409
    template = "image {name} is being copied to {copies}"
    remedy_template = "delete it when that is there; what was made of it does not need it any more"


class ImageDataInvalid(ImsError):
    code, status = "IMG.0057", 400
    template = "{reason}"
    remedy_template = "{remedy}"


class ImageDataCut(ImsError):
    code, status = "IMG.0057", 400
    template = "image {name} did not come whole: {reason}"
    remedy_template = "nothing of it was kept: send it again"


class ImageObjectNotFound(ImsError):
    code, status = "IMG.0121", 400
    template = "object {url} does not exist: there is no object service here"
    remedy_template = "upload the file: evsctl image import FILE NAME"


class ImageInstanceUnknown(ImsError):
    code, status = "IMG.0005", 400
    template = "server {value} does not exist: there are no servers here"
    remedy_template = "make an image of its volume: evsctl image create NAME --from-volume VOLUME"


class ImageVolumeUnusable(ImsError):
    code, status = "IMG.0022", 400
    template = "volume {name} is {status}, only an available one can become an image"
    remedy_template = "if it is attached, detach it first: evsctl detach {name}"


class ImageNotExportable(ImsError):
    code, status = "IMG.0071", 400
    template = "image {name} is encrypted, as every image here is: it is not exported"
    remedy_template = "make a volume of it, and export that: evsctl export VOLUME FILE"


class ImageNotShareable(ImsError):
    code, status = "IMG.0098", 400
    template = "image {name} is encrypted, as every image here is: it is not shared or published"
    remedy_template = "evsctl export a volume made of it, and import that in the other project"


class ImageKeyFixed(ImsError):
    code, status = "IMG.0001", 400
    template = "{field} of image {name} can't be changed"
    remedy_template = "copy it under another key: evsctl image copy {name} NEW --key KEY"


class ImagePropertyFixed(ImsError):
    code, status = "IMG.0001", 403
    template = "{field} of image {name} can't be changed"


class ImageKeySame(ImsError):
    code, status = "IMG.0096", 400
    template = "key {value} is the key of image {name} already"
    remedy_template = "name another key, or none to keep it"


class ImageKeyNotFound(ImsError):
    code, status = "IMG.0095", 400
    template = "{reason}"


class ImageKeyNotEnabled(ImsError):
    code, status = "IMG.0097", 400
    template = "{reason}"


class ImageDelegationMissing(ImsError):
    code, status = "IMG.0099", 400
    template = "the image service may not use keys in project {project}"
    remedy_template = (
        "ask a security administrator of domain {domain} to run: evsctl delegation create"
    )


class SourceKeyNotFound(ImsError):
    code, status = "IMG.0101", 400
    template = "{reason}"


class SourceKeyNotEnabled(ImsError):
    code, status = "IMG.0102", 400
    template = "{reason}"


class ImsForbidden(ImsError):
    code, status = "IMG.0026", 403
    template = "{user} may not do {permission}"
    remedy_template = "ask a user with one of these roles: {roles}"


class ImsProjectMismatch(ImsError):
    code, status = "IMG.0026", 403
    template = "project {project_id} is not one of yours"


class ImageTagNotFound(ImsError):
    code, status = "IMG.0027", 404
    template = "image {name} has no tag {tag}"


class ImageMemberNotFound(ImsError):
    code, status = "IMG.0027", 404
    template = "image {name} is shared with nobody"


class ImageTagQuotaExceeded(ImsError):
    code, status = "IMG.0001", 400
    template = "image {name} would have more than {limit} {what}"
    remedy_template = "remove one first"


class ImageInterrupted(ImsError):
    code, status = "IMG.0046", 503
    template = "evsd ends while image {name} is made"
    remedy_template = "evsd goes on with it at its next start: evsctl image show {name}"


class ImageUndone(ImsError):
    code, status = "IMG.0046", 500
    template = "image {name} was not made: evsd was interrupted"
    remedy_template = "nothing of it was kept: try again"


class ImageCancelled(ImsError):
    code, status = "IMG.0046", 500
    template = "image {name} was deleted while it was being made"


class ImageFileFailed(ImsError):
    code, status = "IMG.0046", 500
    template = "image {name} can't be used: {reason}"
    remedy_template = "look at the pool's filesystem and at evsd's log, then try again"


class ImageNotDeleted(ImsError):
    code, status = "IMG.0046", 500
    template = "image {name} was not deleted, its file is as it was: {reason}"
    remedy_template = "delete it again: evsctl image delete {name}"


class ImageJobNotFound(ImsError):
    code, status = "IMG.0027", 404
    template = "job {job_id} does not exist"
