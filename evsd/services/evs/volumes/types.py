"""Volume types, by the cloud's names.

They are names here: there is one pool, and all volumes of it are as fast. Scripts that name a type
get it, and it is shown and filtered by; what a type would cost or guarantee it does not have.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from evsd.services.evs.errors import VolumeTypeNotFound

_IDS = uuid.UUID("8d0bd0a0-4d2f-5f6f-9d2e-2f3c6f6c9a51")  # nothing but fixed


@dataclass(frozen=True, slots=True)
class VolumeType:
    """One type; `rank` grows with what it is in the cloud: a volume is only made a higher one."""

    name: str
    description: str
    rank: int

    @property
    def id(self) -> str:
        """The same in every evsd."""
        return str(uuid.uuid5(_IDS, self.name))


TYPES = {
    kind.name: kind
    for kind in (
        VolumeType("SATA", "common I/O", 0),
        VolumeType("SAS", "high I/O", 1),
        VolumeType("GPSSD", "general purpose SSD", 2),
        VolumeType("SSD", "ultra-high I/O", 3),
        VolumeType("GPSSD2", "general purpose SSD V2", 4),
        VolumeType("ESSD", "extreme SSD", 5),
        VolumeType("ESSD2", "extreme SSD V2", 6),
    )
}
DEFAULT = TYPES["SSD"]
_BY_REFERENCE = {**TYPES, **{kind.id: kind for kind in TYPES.values()}}


def find_type(reference: str) -> VolumeType:
    """The type of this id or name; raises `VolumeTypeNotFound`."""
    if reference not in _BY_REFERENCE:
        raise VolumeTypeNotFound(value=reference[:64])
    return _BY_REFERENCE[reference]


def name_of(reference: str) -> str:
    """The name of the type that is meant by an id or a name; itself where there is none."""
    kind = _BY_REFERENCE.get(reference)
    return reference if kind is None else kind.name
