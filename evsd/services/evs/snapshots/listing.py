"""Lists of a project's snapshots: which of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import select

from evsd.services.evs.errors import SnapshotMarkerUnknown
from evsd.services.evs.lists import Listed
from evsd.services.evs.tables import Snapshot

SORT_KEYS = {
    "id": Snapshot.id,
    "status": Snapshot.status,
    "size": Snapshot.size_gib,
    "name": Snapshot.name,
    "created_at": Snapshot.created_at,
}


@dataclass(frozen=True, slots=True)
class SnapshotFilters:
    """What a snapshot must be to be listed; all of it counts.

    `equal` is by column; `matches` is for what no column holds.
    """

    equal: dict[str, str] = field(default_factory=dict)
    ids: Sequence[str] | None = None
    matches: Callable[[Snapshot], bool] | None = None


def wanted(project_id: str, filters: SnapshotFilters) -> Listed[Snapshot]:
    """All snapshots that pass; a page of them raises `SnapshotMarkerUnknown`."""
    every = select(Snapshot).where(Snapshot.project_id == project_id)
    for column, value in filters.equal.items():
        every = every.where(getattr(Snapshot, column) == value)
    if filters.ids is not None:
        every = every.where(Snapshot.id.in_(filters.ids))
    return Listed(Snapshot, project_id, every, SORT_KEYS, SnapshotMarkerUnknown, filters.matches)
