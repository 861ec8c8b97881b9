"""Lists of a project's volumes: which of them, in which order, and from where on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from evsd.services.evs.errors import VolumeMarkerUnknown
from evsd.services.evs.tables import Attachment, Volume

SORT_KEYS = {
    "id": Volume.id,
    "status": Volume.status,
    "size": Volume.size_gib,
    "created_at": Volume.created_at,
}


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list, in which order: after the volume `marker`, then after `offset` more."""

    limit: int
    offset: int = 0
    sort_key: str = "created_at"
    descending: bool = True
    marker: str | None = None


@dataclass(frozen=True, slots=True)
class Filters:
    """What a volume must be to be listed; all of it counts.

    `equal` is by column; `matches` is for what no column holds.
    """

    equal: dict[str, str] = field(default_factory=dict)
    ids: Sequence[str] | None = None
    server_id: str | None = None
    matches: Callable[[Volume], bool] | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A page of a list, how many are in all of it, and whether some come after the page."""

    volumes: list[Volume]
    total: int
    more: bool


def find_page(session: Session, project_id: str, page: Page, filters: Filters) -> Found:
    """One page; raises `VolumeMarkerUnknown`."""
    every = select(Volume).where(Volume.project_id == project_id, *_conditions(filters))
    key = SORT_KEYS[page.sort_key]
    rest = every.order_by(key.desc() if page.descending else key, Volume.id)
    if page.marker is not None:
        rest = rest.where(_after(session, project_id, page))
    one_more = page.limit + 1
    if filters.matches is None:
        total = session.scalar(select(func.count()).select_from(every.subquery())) or 0
        found = list(session.scalars(rest.limit(one_more).offset(page.offset)))
    else:
        total = sum(map(filters.matches, session.scalars(every)))
        matching = [volume for volume in session.scalars(rest) if filters.matches(volume)]
        found = matching[page.offset : page.offset + one_more]
    return Found(found[: page.limit], total, more=len(found) > page.limit)


def _conditions(filters: Filters) -> list[ColumnElement[bool]]:
    found = [getattr(Volume, column) == value for column, value in filters.equal.items()]
    if filters.ids is not None:
        found.append(Volume.id.in_(filters.ids))
    if filters.server_id is not None:
        on_it = select(Attachment.volume_id).where(Attachment.instance == filters.server_id)
        found.append(Volume.id.in_(on_it))
    return found


def _after(session: Session, project_id: str, page: Page) -> ColumnElement[bool]:
    """What comes after the marker; volumes alike by the sort key are in the order of their ids."""
    marker = session.get(Volume, page.marker)
    if marker is None or marker.project_id != project_id:
        raise VolumeMarkerUnknown(value=str(page.marker)[:64])
    key = SORT_KEYS[page.sort_key]
    value = getattr(marker, key.key)
    beyond = key < value if page.descending else key > value
    return or_(beyond, and_(key == value, Volume.id > marker.id))
