"""The data keys of images, and what the KMS refuses in the words of IMS."""

from __future__ import annotations

from evsd.key_channel.call import Call
from evsd.key_client.process import KeyProcess
from evsd.services.ims.consumer import CONSUMER
from evsd.services.ims.errors import ImageKeyNotEnabled, ImageKeyNotFound
from evsd.services.ims.key_context import encryption_context
from evsd.services.kms.errors import KeyNotFound, KeyUnusable
from evsd.services.kms.operations import CreateServiceKey, ServiceKey


class ImageKeys:
    """Makes them."""

    def __init__(self, keys: KeyProcess) -> None:
        self._keys = keys

    def create(self, call: Call, cmk_id: str | None, disk_id: str) -> ServiceKey:
        """A data key for one disk; without `cmk_id` under the project's default key.

        Raises `ImageKeyNotFound`, `ImageKeyNotEnabled`, `ImageDelegationMissing`.
        """
        context = encryption_context(call.project_id, disk_id)
        try:
            return self._keys.call(call, CreateServiceKey(CONSUMER.service, cmk_id, context))
        except KeyUnusable as error:
            raise ImageKeyNotEnabled(reason=error.text) from error
        except KeyNotFound as error:
            raise ImageKeyNotFound(reason=error.text) from error
