"""Lists of a project's volumes: which of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, select

from evsd.services.evs.errors import VolumeMarkerUnknown
from evsd.services.evs.lists import Listed
from evsd.services.evs.tables import Attachment, Volume

SORT_KEYS = {
    "id": Volume.id,
    "status": Volume.status,
    "size": Volume.size_gib,
    "created_at": Volume.created_at,
}


@dataclass(frozen=True, slots=True)
class Filters:
    """What a volume must be to be listed; all of it counts.

    `equal` is by column; `matches` is for what no column holds.
    """

    equal: dict[str, str] = field(default_factory=dict)
    ids: Sequence[str] | None = None
    server_id: str | None = None
    matches: Callable[[Volume], bool] | None = None


def wanted(project_id: str, filters: Filters) -> Listed[Volume]:
    """All volumes that pass; a page of them raises `VolumeMarkerUnknown`."""
    every = select(Volume).where(Volume.project_id == project_id, *_conditions(filters))
    return Listed(Volume, project_id, every, SORT_KEYS, VolumeMarkerUnknown, filters.matches)


def _conditions(filters: Filters) -> list[ColumnElement[bool]]:
    found = [getattr(Volume, column) == value for column, value in filters.equal.items()]
    if filters.ids is not None:
        found.append(Volume.id.in_(filters.ids))
    if filters.server_id is not None:
        on_it = select(Attachment.volume_id).where(Attachment.instance == filters.server_id)
        found.append(Volume.id.in_(on_it))
    return found
