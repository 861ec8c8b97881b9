"""What an image's data key is bound to, and for whom the image service uses it."""

from __future__ import annotations

from evsd.key_channel.call import Call
from evsd.key_channel.key_use import KeyUse
from evsd.services.iam.tables import Project
from evsd.services.ims.consumer import CONSUMER
from evsd.services.ims.tables import Image


def encryption_context(project_id: str, disk_id: str) -> dict[str, str]:
    """The encryption context: the key unwraps for this disk of this project, for no other."""
    return {"project_id": project_id, "image_id": disk_id}


def service_call(image: Image, project: Project) -> Call:
    """The image service's own use of an image's key, for the image's user."""
    return Call(
        principal=f"service:ims for {image.user_name}",
        domain_id=project.domain_id,
        project_id=project.id,
        source="evsd",
        request_id=image.id,
    )


def key_use(image: Image, project: Project, disk_id: str) -> KeyUse:
    """What the server of one of the image's disks needs of the KMS."""
    call = service_call(image, project)
    return KeyUse(
        service=CONSUMER.service,
        principal=call.principal,
        domain_id=call.domain_id,
        project_id=call.project_id,
        key_id=image.cmk_id,
        context=encryption_context(project.id, disk_id),
    )
