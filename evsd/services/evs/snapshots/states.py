"""The life of a snapshot: one table, in the published words."""

from __future__ import annotations

from enum import StrEnum

from evsd.state_machine import StateMachine


class SnapshotStatus(StrEnum):
    """Published snapshot states. A deleted one has no record, whatever its layer is needed for."""

    CREATING = "creating"
    AVAILABLE = "available"
    ROLLBACKING = "rollbacking"
    DELETING = "deleting"
    ERROR = "error"
    ERROR_DELETING = "error_deleting"


class SnapshotEvent(StrEnum):
    """What can happen to a snapshot. Where creation fails none is left, if the pool can."""

    CREATED = "created"
    CREATE_FAILED = "create-failed"
    ROLL_BACK = "roll-back"
    ROLLBACK_ENDED = "rollback-ended"  # done or not: the snapshot is as it was
    DELETE = "delete"
    DELETE_FAILED = "delete-failed"


_S, _E = SnapshotStatus, SnapshotEvent

SNAPSHOT_STATES = StateMachine(
    {
        (_S.CREATING, _E.CREATED): _S.AVAILABLE,
        (_S.CREATING, _E.CREATE_FAILED): _S.ERROR,
        (_S.AVAILABLE, _E.ROLL_BACK): _S.ROLLBACKING,
        (_S.ROLLBACKING, _E.ROLLBACK_ENDED): _S.AVAILABLE,
        (_S.AVAILABLE, _E.DELETE): _S.DELETING,
        (_S.ERROR, _E.DELETE): _S.DELETING,
        # Not published, where such a snapshot stays for ever.
        (_S.ERROR_DELETING, _E.DELETE): _S.DELETING,
        (_S.DELETING, _E.DELETE_FAILED): _S.ERROR_DELETING,
    }
)
