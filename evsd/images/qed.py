"""A flag of QED that qemu-img does not show: that the tables are to be checked before use."""

from __future__ import annotations

from evsd.images.damage import Damage, not_closed
from evsd.images.file import Image

_FEATURES = slice(16, 24)
_NEED_CHECK = 1 << 1


def damage(image: Image) -> list[Damage]:
    """What the header says."""
    features = int.from_bytes(image.read(0, 64)[_FEATURES], "little")
    return [not_closed()] if features & _NEED_CHECK else []
