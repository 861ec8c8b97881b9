"""What a volume's data key is bound to, and for whom the volume service uses it."""

from __future__ import annotations

from evsd.key_channel.call import Call
from evsd.key_channel.key_use import KeyUse
from evsd.services.evs.consumer import CONSUMER
from evsd.services.evs.tables import Volume
from evsd.services.iam.tables import Project


def encryption_context(project_id: str, volume_id: str) -> dict[str, str]:
    """The encryption context: the key unwraps for this volume of this project, for no other."""
    return {"project_id": project_id, "volume_id": volume_id}


def service_call(volume: Volume, project: Project, source: str, request_id: str) -> Call:
    """The volume service's own use of a volume's key, for the volume's user."""
    return Call(
        principal=f"service:evs for {volume.user_name}",
        domain_id=project.domain_id,
        project_id=project.id,
        source=source,
        request_id=request_id,
    )


def key_use(volume: Volume, project: Project) -> KeyUse:
    """What the volume's server needs of the KMS."""
    call = service_call(volume, project, "evsd", volume.id)
    return KeyUse(
        service=CONSUMER.service,
        principal=call.principal,
        domain_id=call.domain_id,
        project_id=call.project_id,
        key_id=volume.cmk_id,
        context=encryption_context(project.id, volume.id),
    )
