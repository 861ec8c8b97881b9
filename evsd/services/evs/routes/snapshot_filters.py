"""The parameters of lists of snapshots; as of volumes' lists, a filter is never ignored."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from evsd.api.fields import MAX_OFFSET
from evsd.api.routes import Model
from evsd.services.evs.errors import EvsFieldInvalid
from evsd.services.evs.lists import Page
from evsd.services.evs.routes.snapshot_views import BY_USER
from evsd.services.evs.routes.volume_filters import AllTenants, SortDirection, ids_in
from evsd.services.evs.snapshots.listing import SnapshotFilters
from evsd.services.evs.tables import Snapshot

# What is the same for all snapshots here, and by which names a list may ask for it.
OF_EVERY_SNAPSHOT = {
    "service_type": ("EVS",),
    "snapshot_type": (BY_USER,),
    "enterprise_project_id": ("0", "all_granted_eps"),
    "dedicated_storage_id": ("",),
    "dedicated_storage_name": ("",),
}


class SnapshotPaging(Model):
    """Which part of a list, and the filters that all versions share."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=1000)] = 1000
    offset: Annotated[int, Field(ge=0, le=MAX_OFFSET)] = 0
    marker: str | None = None
    sort_key: Literal["id", "status", "size", "name", "created_at"] = "created_at"
    sort_dir: SortDirection = "desc"
    name: str | None = None
    status: str | None = None
    id: str | None = None
    volume_id: str | None = None
    availability_zone: str | None = None

    @property
    def page(self) -> Page:
        """Which part of the list is wanted; an empty marker is its beginning."""
        descending = self.sort_dir == "desc"
        return Page(self.limit, self.offset, self.sort_key, descending, self.marker or None)

    @property
    def filters(self) -> SnapshotFilters | None:
        """Which snapshots are wanted; None where none can be."""
        if any(
            getattr(self, name, None) not in (None, *values)
            for name, values in OF_EVERY_SNAPSHOT.items()
        ):
            return None
        return SnapshotFilters(self._equal)

    @property
    def _equal(self) -> dict[str, str]:
        names = ("name", "status", "id", "volume_id", "availability_zone")
        columns = {name: getattr(self, name) for name in names}
        return {column: value for column, value in columns.items() if value is not None}


class EvsSnapshotsQuery(SnapshotPaging):
    """The parameters that EVS v2 publishes, and a marker."""

    service_type: str | None = None
    enterprise_project_id: str | None = None
    dedicated_storage_id: str | None = None
    dedicated_storage_name: str | None = None


class CinderSnapshotsQuery(SnapshotPaging):
    """The parameters of Cinder's lists that can be followed."""

    all_tenants: AllTenants = None
    with_count: bool = False


class StandardSnapshotsQuery(SnapshotPaging):
    """The parameters that EVS v5 publishes. The id of a chain is its volume's."""

    ids: Annotated[str | None, Field(max_length=4096)] = None
    snapshot_type: str | None = None
    enterprise_project_id: str | None = None
    tag_key: str | None = None
    tags: Annotated[str | None, Field(max_length=4096)] = None
    snapshot_chain_id: str | None = None
    snapshot_group_id: str | None = None

    @property
    def filters(self) -> SnapshotFilters | None:
        """Which snapshots are wanted; None where none can be. `ids` counts before `id`."""
        found, ids, equal = super().filters, ids_in(self.ids), dict(self._equal)
        chain = self.snapshot_chain_id
        if found is None or (chain and self.volume_id not in (None, chain)):
            return None
        if ids is not None:
            equal.pop("id", None)
        others = {"volume_id": chain, "group_id": self.snapshot_group_id}
        equal |= {column: value for column, value in others.items() if value is not None}
        return SnapshotFilters(equal, ids, _tagged(self.tag_key, self.tags))


def _tagged(key: str | None, tags: str | None) -> Callable[[Snapshot], bool] | None:
    if key is None and tags is None:
        return None
    pairs = tag_pairs(tags)

    def matches(snapshot: Snapshot) -> bool:
        return (key is None or key in snapshot.tags) and pairs.items() <= snapshot.tags.items()

    return matches


def tag_pairs(text: str | None) -> dict[str, str]:
    """Tags as the published filter writes them: a list of keys and values in JSON."""
    if text is None:
        return {}
    try:
        return {str(pair["key"]): str(pair["value"]) for pair in json.loads(text)}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise EvsFieldInvalid(
            field="tags", value=text[:64], reason='it is no list like [{"key": "k", "value": "v"}]'
        ) from error
