"""EVS as the KMS knows it: the data keys of volumes."""

from __future__ import annotations

from evsd.key_channel.consumer import Consumer
from evsd.services.evs.errors import DelegationMissing
from evsd.services.evs.permissions import VOLUME_SERVICE
from evsd.services.kms.permissions import KMS_ADMINISTRATOR

CONSUMER = Consumer(
    service="evs",
    kind="volume",
    domain=VOLUME_SERVICE,
    role_id=KMS_ADMINISTRATOR.id,
    not_delegated=DelegationMissing,
    default_alias="evs/default",
    default_description="default key of the volume service",
    key_bits=512,
)
