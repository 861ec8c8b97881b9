"""The parameters of lists of images.

As with volumes no filter is ever ignored: a script that lists and deletes would hit other images
than it asked for. One that is unknown is refused.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from typing import Any

from fastapi import Request

from evsd.services.ims.errors import ImageLimitInvalid, ImageMarkerUnknown, ImsFieldInvalid
from evsd.services.ims.limits import PAGE_LIMIT
from evsd.services.ims.routes.views import View, view
from evsd.services.ims.tables import Image

DEFAULT_LIMIT = 25
PAGING = ("limit", "marker", "sort_key", "sort_dir", "sort")
SORT_KEYS = (
    *("name", "container_format", "disk_format", "status", "id", "size", "min_disk"),
    *("created_at", "updated_at"),
)
# What may be asked for that no image here has: it is private, and made for no special hardware.
ABSENT = (
    *("__os_bit", "__os_type", "__os_version", "__platform", "architecture", "flavor_id"),
    *("__support_diskintensive", "__support_highperformance", "__support_kvm_gpu_type"),
    *("__support_kvm_infiniband", "__support_largememory", "__support_xen"),
    *("__support_xen_gpu_type", "__support_xen_hana", "hw_firmware_type"),
)
# What says how much of what others share is wanted; there is none of that.
OF_SHARED = ("member_status",)
TIMES = ("created_at", "updated_at")
_COMPARED: dict[str, Callable[[str, str], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
    "eq": operator.eq,
    "neq": operator.ne,
}


class Page:
    """One page of a list of images, and whether more come after it."""

    def __init__(self, images: list[View], *, more: bool) -> None:
        self.images, self.more = images, more

    @property
    def next_marker(self) -> str | None:
        """Where the next page begins: after this image."""
        return str(self.images[-1]["id"]) if self.more and self.images else None


def page_of(request: Request, images: Iterable[Image]) -> Page:
    """The page that a request asks for.

    Raises `ImsFieldInvalid`, `ImageLimitInvalid`, `ImageMarkerUnknown`.
    """
    asked = request.query_params.multi_items()
    given = dict(asked)
    views = _sorted([view(image) for image in images], given)
    known = {*views[0]} if views else set()
    for name, value in asked:
        if name not in PAGING:
            _require_once(name, asked)
            views = [each for each in views if _matches(each, name, value, known)]
    start, limit = _start(views, given), _limit(given)
    return Page(views[start : start + limit], more=len(views) > start + limit)


def _require_once(name: str, asked: list[tuple[str, str]]) -> None:
    if name != "tag" and sum(name == other for other, _ in asked) > 1:
        raise ImsFieldInvalid(field=name[:64], value="", reason="it is there more than once")


def _matches(shown: View, name: str, value: str, known: set[str]) -> bool:
    if name in OF_SHARED:
        return True
    if name == "tag":
        return value in shown["tags"]
    if name in TIMES:
        return _in_time(shown[name], name, value)
    if name in ("size_min", "size_max"):
        return _in_size(shown["size"] or 0, name, value)
    if name not in {*known, *ABSENT, *shown}:
        raise ImsFieldInvalid(
            field=name[:64],
            value=value[:64],
            reason="it is not known here, and nothing that narrows a list is ignored",
        )
    wanted = value.removeprefix("in:").split(",") if value.startswith("in:") else [value]
    return _text(shown.get(name)) in {text.strip('"') for text in wanted} or (
        isinstance(shown.get(name), bool) and _text(shown[name]) == value.lower()
    )


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _in_time(shown: str, name: str, value: str) -> bool:
    compare, separator, moment = value.partition(":")
    if not separator or compare not in _COMPARED:
        compare, moment = "eq", value
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", moment):
        raise ImsFieldInvalid(
            field=name, value=value[:64], reason="a time like gte:2026-01-31T12:00:00Z"
        )
    return _COMPARED[compare](shown, moment)


def _in_size(size: int, name: str, value: str) -> bool:
    if not value.isdecimal():
        raise ImsFieldInvalid(field=name, value=value[:64], reason="a number of bytes")
    return size >= int(value) if name == "size_min" else size <= int(value)


def _sorted(views: list[View], given: dict[str, str]) -> list[View]:
    order = given.get("sort") or ",".join(
        f"{key}:{given.get('sort_dir', 'desc')}"
        for key in given.get("sort_key", "created_at").split(",")
    )
    views = sorted(views, key=lambda each: str(each["id"]))
    for part in reversed(order.split(",")):
        key, _, direction = part.strip().partition(":")
        if key not in SORT_KEYS or direction not in ("", "asc", "desc"):
            raise ImsFieldInvalid(
                field="sort_key", value=part[:64], reason=f"one of {', '.join(SORT_KEYS)}"
            )
        views.sort(key=lambda each: _sortable(each[key]), reverse=direction != "asc")
    return views


def _sortable(value: Any) -> tuple[bool, Any]:
    return (value is not None, 0 if value is None else value)


def _limit(given: dict[str, str]) -> int:
    text = given.get("limit", str(DEFAULT_LIMIT))
    if not text.isdecimal() or int(text) > PAGE_LIMIT:
        raise ImageLimitInvalid(value=text[:64])
    return int(text)


def _start(views: list[View], given: dict[str, str]) -> int:
    marker = given.get("marker")
    if not marker:
        return 0
    for number, each in enumerate(views):
        if each["id"] == marker:
            return number + 1
    raise ImageMarkerUnknown(value=marker[:64])
