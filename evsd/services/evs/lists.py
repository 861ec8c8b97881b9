"""Pages of lists of what EVS has: in which order, and from where on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from evsd.errors import PublishedError

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list, in which order: after the record `marker`, then after `offset` more."""

    limit: int
    offset: int = 0
    sort_key: str = "created_at"
    descending: bool = True
    marker: str | None = None


@dataclass(frozen=True, slots=True)
class Found(Generic[R]):
    """A page of a list, how many are in all of it, and whether some come after the page."""

    records: list[R]
    total: int
    more: bool


@dataclass(frozen=True, slots=True)
class Listed(Generic[R]):
    """What a page is one of: a project's records that are wanted.

    `sort_keys` are columns, `matches` is for what no column holds. `unknown` is raised for a
    marker that is no record of the project's.
    """

    table: type[R]
    project_id: str
    wanted: Select[R]
    sort_keys: dict[str, InstrumentedAttribute[Any]]
    unknown: type[PublishedError]
    matches: Callable[[R], bool] | None = None


def find_page(session: Session, listed: Listed[R], page: Page) -> Found[R]:
    """One page."""
    key, table = listed.sort_keys[page.sort_key], _columns(listed)
    rest = listed.wanted.order_by(key.desc() if page.descending else key, table.id)
    if page.marker is not None:
        rest = rest.where(_after(session, listed, page))
    one_more = page.limit + 1
    if listed.matches is None:
        total = session.scalar(select(func.count()).select_from(listed.wanted.subquery())) or 0
        found = list(session.scalars(rest.limit(one_more).offset(page.offset)))
    else:
        total = sum(map(listed.matches, session.scalars(listed.wanted)))
        matching = [record for record in session.scalars(rest) if listed.matches(record)]
        found = matching[page.offset : page.offset + one_more]
    return Found(found[: page.limit], total, more=len(found) > page.limit)


def _columns(listed: Listed[R]) -> Any:
    """The table, which has an id and a project."""
    return listed.table


def _after(session: Session, listed: Listed[R], page: Page) -> ColumnElement[bool]:
    """What comes after the marker; records alike by the sort key are in the order of their ids."""
    table = _columns(listed)
    marker = session.get(table, page.marker)
    if marker is None or marker.project_id != listed.project_id:
        raise listed.unknown(value=str(page.marker)[:64])
    key = listed.sort_keys[page.sort_key]
    value = getattr(marker, key.key)
    beyond = key < value if page.descending else key > value
    return or_(beyond, and_(key == value, table.id > marker.id))
