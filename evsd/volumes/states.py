"""The life of a volume: one table, in the published words."""

from __future__ import annotations

from enum import StrEnum

from evsd.machine import StateMachine


class VolumeStatus(StrEnum):
    """Published volume states; `reserved` is Cinder's."""

    CREATING = "creating"
    AVAILABLE = "available"
    RESERVED = "reserved"
    ATTACHING = "attaching"
    IN_USE = "in-use"
    DETACHING = "detaching"
    DELETING = "deleting"
    ERROR = "error"
    ERROR_DELETING = "error_deleting"


class VolumeEvent(StrEnum):
    """What can happen to a volume. Where creation fails no volume is left, if the pool can."""

    CREATED = "created"
    CREATE_FAILED = "create-failed"
    RESERVE = "reserve"
    ATTACH = "attach"
    ATTACHED = "attached"
    DETACH = "detach"
    DETACHED = "detached"
    DELETE = "delete"
    DELETE_FAILED = "delete-failed"


_S, _E = VolumeStatus, VolumeEvent

VOLUME_STATES = StateMachine(
    {
        (_S.CREATING, _E.CREATED): _S.AVAILABLE,
        (_S.CREATING, _E.CREATE_FAILED): _S.ERROR,
        (_S.AVAILABLE, _E.RESERVE): _S.RESERVED,
        (_S.RESERVED, _E.ATTACH): _S.ATTACHING,
        (_S.ATTACHING, _E.ATTACHED): _S.IN_USE,
        (_S.RESERVED, _E.DETACH): _S.DETACHING,
        (_S.ATTACHING, _E.DETACH): _S.DETACHING,
        (_S.IN_USE, _E.DETACH): _S.DETACHING,
        (_S.DETACHING, _E.DETACH): _S.DETACHING,
        (_S.DETACHING, _E.DETACHED): _S.AVAILABLE,
        (_S.AVAILABLE, _E.DELETE): _S.DELETING,
        (_S.ERROR, _E.DELETE): _S.DELETING,
        (_S.ERROR_DELETING, _E.DELETE): _S.DELETING,
        (_S.DELETING, _E.DELETE_FAILED): _S.ERROR_DELETING,
    }
)
