"""The parameters of lists of volumes.

A filter is never ignored: a script that lists and deletes would hit other volumes than it asked
for. One that all volumes here pass, or none, is answered so; one that is unknown is refused.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import Depends, Request
from pydantic import BeforeValidator, ConfigDict, Field

from evsd.api.fields import MAX_OFFSET
from evsd.api.routes import Model
from evsd.services.evs.errors import EvsFieldInvalid, VolumeFilterInvalid
from evsd.services.evs.lists import Page
from evsd.services.evs.tables import Volume
from evsd.services.evs.volumes.listing import Filters
from evsd.services.evs.volumes.metadata import metadata_of
from evsd.services.evs.volumes.types import name_of

IDS_LIMIT = 60
# What is the same for all volumes here, and by which names a list may ask for it.
OF_EVERY_VOLUME = {
    "service_type": ("EVS",),
    "multiattach": (False,),
    "bootable": (False,),
    "enterprise_project_id": ("0", "all_granted_eps"),
    "dedicated_storage_id": ("",),
    "dedicated_storage_name": ("",),
}
PairsText = Annotated[str, Field(max_length=4096)]
SortKey = Literal["id", "status", "size", "created_at"]
SortDirection = Literal["asc", "desc"]


class Paging(Model):
    """Which part of a list, and the filters that EVS and Cinder share."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=1000)] = 1000
    offset: Annotated[int, Field(ge=0, le=MAX_OFFSET)] = 0
    marker: str | None = None
    sort_key: SortKey = "created_at"
    sort_dir: SortDirection = "desc"
    name: str | None = None
    status: str | None = None
    id: str | None = None
    availability_zone: str | None = None
    volume_type_id: str | None = None
    metadata: PairsText | None = None
    multiattach: bool | None = None

    @property
    def page(self) -> Page:
        """Which part of the list is wanted."""
        descending = self.sort_dir == "desc"
        return Page(self.limit, self.offset, self.sort_key, descending, self.marker or None)

    @property
    def _none_can_be(self) -> bool:
        return any(
            getattr(self, name, None) not in (None, *values)
            for name, values in OF_EVERY_VOLUME.items()
        )

    @property
    def _equal(self) -> dict[str, str]:
        kind = self.volume_type_id
        columns = {
            "name": self.name,
            "status": self.status,
            "id": self.id,
            "availability_zone": self.availability_zone,
            "volume_type": None if kind is None else name_of(kind),
        }
        return {column: value for column, value in columns.items() if value is not None}


class EvsQuery(Paging):
    """The parameters that EVS publishes; an empty marker is the list's beginning."""

    ids: Annotated[str | None, Field(max_length=4096)] = None
    server_id: str | None = None
    not_metadata: PairsText | None = None
    service_type: str | None = None
    enterprise_project_id: str | None = None
    dedicated_storage_id: str | None = None
    dedicated_storage_name: str | None = None

    @property
    def filters(self) -> Filters | None:
        """Which volumes are wanted; None where none can be. `ids` counts before `id`."""
        if self._none_can_be:
            return None
        ids, equal = ids_in(self.ids), self._equal
        if ids is not None:
            equal.pop("id", None)
        return Filters(equal, ids, self.server_id, _matcher(self.metadata, self.not_metadata))


# Yes, no, or as OpenStack's clients say it where either will do.
Perhaps = Annotated[
    bool | None, BeforeValidator(lambda given: None if str(given).lower() == "none" else given)
]
# Those clients ask for all projects' to find something by its name. As there, who doesn't
# administer the whole cloud gets the project's own: it narrows nothing, and nobody here may more.
AllTenants = Perhaps


class CinderQuery(Paging):
    """The parameters of Cinder's lists that can be followed."""

    sort: Annotated[str | None, Field(max_length=64)] = None
    bootable: bool | None = None
    all_tenants: AllTenants = None
    with_count: bool = False

    @property
    def page(self) -> Page:
        """Which part of the list is wanted; `sort` is ``key`` or ``key:direction``."""
        if self.sort is None:
            return super().page
        match = re.fullmatch(r"(id|status|size|created_at)(?::(asc|desc))?", self.sort)
        if match is None:
            raise EvsFieldInvalid(
                field="sort", value=self.sort, reason="one of the sort keys, as created_at:desc"
            )
        descending = match[2] != "asc"
        return Page(self.limit, self.offset, match[1], descending, self.marker or None)

    @property
    def filters(self) -> Filters | None:
        """Which volumes are wanted; None where none can be."""
        if self._none_can_be:
            return None
        return Filters(self._equal, matches=_matcher(self.metadata, None))


def _matcher(wanted: str | None, unwanted: str | None) -> Callable[[Volume], bool] | None:
    if wanted is None and unwanted is None:
        return None
    all_of, none_of = _pairs(wanted).items(), _pairs(unwanted).items()

    def matches(volume: Volume) -> bool:
        there = metadata_of(volume).items()
        return all_of <= there and not none_of & there

    return matches


def _pairs(text: str | None) -> dict[str, str]:
    """Metadata as text: in JSON as published, or as Cinder's client writes it, Python's way."""
    if text is None:
        return {}
    for read in (json.loads, ast.literal_eval):
        try:
            pairs = read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(pairs, dict) and all(
            isinstance(part, str) for pair in pairs.items() for part in pair
        ):
            return pairs
    raise VolumeFilterInvalid(value=text[:64])


def ids_in(text: str | None) -> list[str] | None:
    """The published form is a list as text: ``['a','b']``."""
    if text is None:
        return None
    ids = re.findall(r"[0-9a-z-]{36}", text)
    if len(ids) > IDS_LIMIT:
        raise EvsFieldInvalid(field="ids", value=len(ids), reason=f"{IDS_LIMIT} at most")
    return ids


async def _once_each(request: Request) -> None:
    names = [name for name, _ in request.query_params.multi_items()]
    for name in names:
        if names.count(name) > 1:
            raise EvsFieldInvalid(field=name[:64], value="", reason="it is there more than once")


# Of a filter that is given twice only one would count.
OnceEach = Annotated[None, Depends(_once_each)]


def next_page(request: Request, marker: str) -> dict[str, str]:
    """Where the next page is: after the last volume of this one."""
    url = request.url.remove_query_params("offset").include_query_params(marker=marker)
    return {"rel": "next", "href": str(url)}
