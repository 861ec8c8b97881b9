"""The life of a server's record: one table. Of one that has ended there is none."""

from __future__ import annotations

from enum import StrEnum

from evsd.state_machine import StateMachine


class ServerStatus(StrEnum):
    """What is to become of a server's process."""

    WANTED = "wanted"  # it may be started; whoever asked for it sees to it
    KEPT = "kept"  # it is started again whenever it ends
    ENDING = "ending"  # none is started, and none gets a key


class ServerEvent(StrEnum):
    """What can happen to it."""

    KEEP = "keep"
    END = "end"


_S, _E = ServerStatus, ServerEvent

SERVER_STATES = StateMachine(
    {
        (_S.WANTED, _E.KEEP): _S.KEPT,
        (_S.WANTED, _E.END): _S.ENDING,
        (_S.KEPT, _E.END): _S.ENDING,
        (_S.ENDING, _E.END): _S.ENDING,  # again, where the last try got stuck
    }
)

# States in which a process may be started: for the first time, or again.
STARTABLE = frozenset({ServerStatus.WANTED, ServerStatus.KEPT})
