"""What create of EVS and of Cinder asks for, and what becomes of it."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from evsd.api.fields import UUID_PATTERN
from evsd.api.routes import Model
from evsd.services.evs.errors import (
    EvsFieldInvalid,
    EvsRequestInvalid,
    VolumeCountInvalid,
    VolumeEncryptionInvalid,
    VolumeKeyInherited,
    VolumePassthroughInvalid,
    VolumeSourcesSeveral,
)
from evsd.services.evs.routes.fields import (
    Count,
    Description,
    MetadataKey,
    MetadataValue,
    SizeGib,
    Tags,
    VolumeName,
)
from evsd.services.evs.volumes.creation import NewVolume
from evsd.services.evs.volumes.metadata import CMK_ID, ENCRYPTED, OURS, PROVISIONING, THICK, THIN
from evsd.services.evs.volumes.types import TYPES

TELL_IDS, PASSTHROUGH = "create_for_volume_id", "hw:passthrough"
FULL_CLONE = "full_clone"  # either reads the same: here each is linked


def _known_type(value: str) -> str:
    if value not in TYPES:
        raise ValueError(f"one of {', '.join(sorted(TYPES))}")
    return value


TypeName = Annotated[str, AfterValidator(_known_type)]


class WantedVolume(Model):
    """What create asks for. Metadata `evsd:provisioning` is ``thin`` (default) or ``thick``."""

    name: VolumeName | None = None
    size: SizeGib
    volume_type: TypeName | None = None
    availability_zone: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    description: Description | None = None
    metadata: dict[MetadataKey, MetadataValue] | None = None
    tags: Tags | None = None
    count: Count = 1
    snapshot_id: str | None = None
    image_ref: Annotated[str | None, Field(alias="imageRef")] = None
    backup_id: str | None = None
    source_volid: str | None = None
    multiattach: bool = False

    @property
    def tells_ids(self) -> bool:
        """Whether the answer is to have the ids of the volumes."""
        return (self.metadata or {}).get(TELL_IDS) == "true"

    @property
    def new_volume(self) -> NewVolume:
        """The same for the service; raises what form alone is refused with."""
        metadata = dict(self.metadata or {})
        self._check_source(metadata)
        self._refuse_unsupported()
        cmk_id, thick = _encryption(metadata), _provisioning(metadata) == THICK
        if metadata.get(PASSTHROUGH, "false") != "false":
            raise VolumePassthroughInvalid(value=metadata[PASSTHROUGH][:64])
        for read_already in (TELL_IDS, FULL_CLONE):
            metadata.pop(read_already, None)
        return NewVolume(
            name=self.name,
            size_gib=self.size,
            thick=thick,
            description=self.description or "",
            volume_type=self.volume_type or ("" if self.snapshot_id else "SSD"),
            availability_zone=self.availability_zone,
            cmk_id=cmk_id,
            # What else of ours is in it was copied from another volume, and is not to be believed.
            metadata={name: text for name, text in metadata.items() if not name.startswith(OURS)},
            tags=self.tags or {},
            image_id=self.image_ref,
            snapshot_id=self.snapshot_id,
        )

    def _check_source(self, metadata: dict[str, str]) -> None:
        sources = {
            "an image": self.image_ref,
            "a snapshot": self.snapshot_id,
            "a backup": self.backup_id,
        }
        given = [name for name, value in sources.items() if value is not None]
        if len(given) > 1:
            raise VolumeSourcesSeveral(sources=" and ".join(given))
        if self.snapshot_id is not None and self.count != 1:
            raise VolumeCountInvalid(value=self.count)
        if self.image_ref is not None or self.snapshot_id is not None:
            _refuse_key(given[0], metadata)

    def _refuse_unsupported(self) -> None:
        unsupported = {
            "backup_id": self.backup_id is not None,
            "source_volid": self.source_volid is not None,
            "multiattach": self.multiattach,
        }
        refused = [name for name, given in unsupported.items() if given]
        if refused:
            raise EvsRequestInvalid(
                reason=f"{', '.join(refused)} is not supported by this version of evsd"
            )


def _refuse_key(source: str, metadata: dict[str, str]) -> None:
    """What is made of something encrypted inherits its key."""
    fields = [name for name in (ENCRYPTED, CMK_ID) if name in metadata]
    if fields:
        raise VolumeKeyInherited(source=source, fields=" and ".join(fields))


def _provisioning(metadata: dict[str, str]) -> str:
    """Take out of it how the volume is to be stored."""
    wanted = metadata.pop(PROVISIONING, THIN)
    if wanted not in (THIN, THICK):
        raise EvsFieldInvalid(field=PROVISIONING, value=wanted[:64], reason="thin or thick")
    return wanted


def _encryption(metadata: dict[str, str]) -> str | None:
    """Take the encryption fields out of it; returns the id of the CMK, if it is named."""
    if metadata.pop(ENCRYPTED, "1") != "1":
        raise VolumeEncryptionInvalid(reason=f'{ENCRYPTED} can only be "1"')
    cmk_id = metadata.pop(CMK_ID, None)
    if cmk_id is not None and not re.fullmatch(UUID_PATTERN.rstrip("$"), cmk_id):
        raise VolumeEncryptionInvalid(reason=f"{CMK_ID} {cmk_id[:64]!r} is not a key id")
    return cmk_id
