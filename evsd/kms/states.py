"""The life of a CMK: one table."""

from __future__ import annotations

from enum import StrEnum

from evsd.machine import StateMachine


class KeyState(StrEnum):
    """Published state codes."""

    ENABLED = "2"
    DISABLED = "3"
    PENDING_DELETION = "4"

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


KEY_STATES = StateMachine(
    {
        (KeyState.DISABLED, KeyEvent.ENABLE): KeyState.ENABLED,
        (KeyState.ENABLED, KeyEvent.DISABLE): KeyState.DISABLED,
        (KeyState.ENABLED, KeyEvent.SCHEDULE_DELETION): KeyState.PENDING_DELETION,
        (KeyState.DISABLED, KeyEvent.SCHEDULE_DELETION): KeyState.PENDING_DELETION,
        (KeyState.PENDING_DELETION, KeyEvent.CANCEL_DELETION): KeyState.DISABLED,
    }
)
