"""The life of a CMK: one table."""

from __future__ import annotations

from enum import StrEnum

from evsd.state_machine import StateMachine


class KeyState(StrEnum):
    """Published state codes; `DESTROYED` is never told, such a key does not exist any more."""

    DESTROYED = "0"
    ENABLED = "2"
    DISABLED = "3"
    PENDING_DELETION = "4"
    PENDING_IMPORT = "5"

    @property
    def word(self) -> str:
        """The state in words, for messages."""
        return self.name.lower().replace("_", " ")


class KeyEvent(StrEnum):
    """What can happen to a CMK."""

    ENABLE = "enable"
    DISABLE = "disable"
    SCHEDULE_DELETION = "schedule-deletion"
    CANCEL_DELETION = "cancel-deletion"
    IMPORT = "import"
    LOSE_MATERIAL = "lose-material"  # imported material was deleted, or has expired
    DESTROY = "destroy"


_S, _E = KeyState, KeyEvent

KEY_STATES = StateMachine(
    {
        (_S.DISABLED, _E.ENABLE): _S.ENABLED,
        (_S.ENABLED, _E.DISABLE): _S.DISABLED,
        (_S.ENABLED, _E.SCHEDULE_DELETION): _S.PENDING_DELETION,
        (_S.DISABLED, _E.SCHEDULE_DELETION): _S.PENDING_DELETION,
        (_S.PENDING_IMPORT, _E.SCHEDULE_DELETION): _S.PENDING_DELETION,
        (_S.PENDING_DELETION, _E.CANCEL_DELETION): _S.DISABLED,
        (_S.PENDING_IMPORT, _E.IMPORT): _S.ENABLED,
        (_S.ENABLED, _E.LOSE_MATERIAL): _S.PENDING_IMPORT,
        (_S.DISABLED, _E.LOSE_MATERIAL): _S.PENDING_IMPORT,
        (_S.PENDING_DELETION, _E.DESTROY): _S.DESTROYED,
    }
)
