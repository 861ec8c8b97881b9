"""IMS as the KMS knows it: the data keys of images.

Images are kept by the volume service, so the delegation to that is theirs too.
"""

from __future__ import annotations

from evsd.key_channel.consumer import Consumer
from evsd.services.evs.permissions import VOLUME_SERVICE
from evsd.services.ims.errors import ImageDelegationMissing
from evsd.services.kms.permissions import KMS_ADMINISTRATOR

CONSUMER = Consumer(
    service="ims",
    kind="image",
    domain=VOLUME_SERVICE,
    role_id=KMS_ADMINISTRATOR.id,
    not_delegated=ImageDelegationMissing,
    default_alias="ims/default",
    default_description="default key of the image service",
    key_bits=512,
)
