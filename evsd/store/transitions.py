"""Changing the status of a record along its state machine."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import CursorResult, update
from sqlalchemy.orm import Session

from evsd.state_machine import StateMachine
from evsd.store.tables import Stateful

E = TypeVar("E", bound=StrEnum)


def advance(
    session: Session,
    record: Stateful,
    machine: StateMachine[Any, E],
    event: E,
    **changes: Any,
) -> bool:
    """Apply `event` to the record; False, and nothing changed, where it is not allowed.

    The update is conditional on the status that was read, so of two callers one wins.
    """
    after = machine.after(record.status, event)
    if after is None:
        return False
    table = type(record)
    statement = (
        update(table)
        .where(table.id == record.id, table.status == record.status)
        .values(status=str(after), **changes)
    )
    result = session.execute(statement)
    assert isinstance(result, CursorResult)  # noqa: S101 - what an UPDATE returns
    if result.rowcount == 1:
        session.refresh(record)
    return result.rowcount == 1
