"""What the bodies of identity share."""

from __future__ import annotations

import unicodedata
from typing import Annotated, TypeVar

from fastapi import Depends, Query, Response
from pydantic import AfterValidator, Field

from evsd.api.fields import MAX_OFFSET, printable
from evsd.api.routes import Model
from evsd.principal import Principal
from evsd.services.iam.errors import IamNotFound

T = TypeVar("T")
# Of ASCII what can't be taken for anything else in a list or a path; of other scripts everything.
_BEYOND_ASCII = r"[^\x00-\x7F]"
_EDGE, _LAST = rf"([A-Za-z0-9_]|{_BEYOND_ASCII})", rf"([A-Za-z0-9_.-]|{_BEYOND_ASCII})"
_INNER = rf"([A-Za-z0-9_. -]|{_BEYOND_ASCII})"


def _composed(value: str) -> str:
    """One spelling of what looks the same: an accent is a part of its letter (NFC)."""
    return printable(unicodedata.normalize("NFC", value))


Name = Annotated[
    str, Field(max_length=64, pattern=rf"^{_EDGE}({_INNER}*{_LAST})?$"), AfterValidator(_composed)
]
ProjectName = Annotated[
    str,
    Field(max_length=64, pattern=rf"^([A-Za-z0-9_-]|{_BEYOND_ASCII})+$"),
    AfterValidator(_composed),
]
# In a query, where a name that nothing can have finds nothing.
NameFilter = Annotated[str, AfterValidator(lambda value: unicodedata.normalize("NFC", value))]
Description = Annotated[str, Field(max_length=255), AfterValidator(printable)]
Id = Annotated[str, Field(max_length=64)]


class Links(Model):
    """Where a record or list is; there are no pages."""

    self: str
    previous: str | None = None
    next: str | None = None


class Paging:
    """The published page numbers of a list: from 1, all on one page unless a size is given."""

    def __init__(
        self,
        page: Annotated[int, Query(ge=1, le=MAX_OFFSET)] = 1,
        per_page: Annotated[int | None, Query(ge=1, le=5000)] = None,
    ) -> None:
        self._page, self._size = page, per_page

    def of(self, items: list[T]) -> list[T]:
        """The page that is asked for."""
        size = len(items) if self._size is None else self._size
        return items[(self._page - 1) * size : self._page * size]


UsesPaging = Annotated[Paging, Depends()]


def link(*parts: str) -> Links:
    """The links of what is at a path."""
    return Links(self="/" + "/".join(("v3", *parts)))


def require_own_domain(principal: Principal, domain_id: str | None) -> None:
    """Raise `IamNotFound` if a domain is named that isn't the caller's."""
    if domain_id is not None and domain_id != principal.domain_id:
        raise IamNotFound(what="domain", name=domain_id)


def no_content() -> Response:
    """204, for what is done and has nothing to say."""
    return Response(status_code=204)
