"""A state machine as a table of (state, event) -> state.

Each thing with a life (key, volume, attachment) has one such table beside its code;
`evsd.store.transitions.advance` carries a change out.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Generic, TypeVar

S = TypeVar("S", bound=StrEnum)
E = TypeVar("E", bound=StrEnum)


class StateMachine(Generic[S, E]):
    """The table of one kind of thing; what it doesn't list is not allowed."""

    def __init__(self, table: Mapping[tuple[S, E], S]) -> None:
        # Keyed by text, as records hold their state; a StrEnum equals its text.
        self._table: dict[tuple[str, str], S] = {
            (str(s), str(e)): to for (s, e), to in table.items()
        }

    def after(self, state: str, event: E) -> S | None:
        """The state that `event` leads to, or None where it is not allowed."""
        return self._table.get((state, str(event)))
