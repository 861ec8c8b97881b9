"""The life of a volume: one table, in the published words."""

from __future__ import annotations

from enum import StrEnum

from evsd.state_machine import StateMachine


class VolumeStatus(StrEnum):
    """Published volume states; `reserved` is Cinder's."""

    CREATING = "creating"
    AVAILABLE = "available"
    RESERVED = "reserved"
    ATTACHING = "attaching"
    IN_USE = "in-use"
    DETACHING = "detaching"
    EXTENDING = "extending"
    ROLLBACKING = "rollbacking"
    DELETING = "deleting"
    UPLOADING = "uploading"
    ERROR = "error"
    ERROR_EXTENDING = "error_extending"
    ERROR_ROLLBACKING = "error_rollbacking"
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
    EXTEND = "extend"
    EXTENDED = "extended"
    EXTENSION_UNDONE = "extension-undone"
    EXTENSION_FAILED = "extension-failed"
    EXTENSION_ENDED_ATTACHED = "extension-ended-attached"  # done or not: it is as it was, or larger
    EXTENSION_ENDED_DETACHING = "extension-ended-detaching"
    ROLL_BACK = "roll-back"
    ROLLED_BACK = "rolled-back"
    ROLLBACK_UNDONE = "rollback-undone"
    ROLLBACK_FAILED = "rollback-failed"
    UPLOAD = "upload"
    UPLOADED = "uploaded"  # or not: it is as it was
    DELETE = "delete"
    DELETION_UNDONE = "deletion-undone"
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
        (_S.AVAILABLE, _E.EXTEND): _S.EXTENDING,
        # An attached one stays so meanwhile; its detachment may come first.
        (_S.IN_USE, _E.EXTEND): _S.EXTENDING,
        (_S.EXTENDING, _E.EXTENSION_ENDED_ATTACHED): _S.IN_USE,
        (_S.EXTENDING, _E.EXTENSION_ENDED_DETACHING): _S.DETACHING,
        (_S.EXTENDING, _E.EXTENDED): _S.AVAILABLE,
        (_S.EXTENDING, _E.EXTENSION_UNDONE): _S.AVAILABLE,
        (_S.EXTENDING, _E.EXTENSION_FAILED): _S.ERROR_EXTENDING,
        # Not published, where such a volume can only be deleted: its data is whole.
        (_S.ERROR_EXTENDING, _E.EXTEND): _S.EXTENDING,
        (_S.ERROR_EXTENDING, _E.DELETE): _S.DELETING,
        (_S.AVAILABLE, _E.ROLL_BACK): _S.ROLLBACKING,
        (_S.ERROR_ROLLBACKING, _E.ROLL_BACK): _S.ROLLBACKING,
        (_S.ROLLBACKING, _E.ROLLED_BACK): _S.AVAILABLE,
        (_S.ROLLBACKING, _E.ROLLBACK_UNDONE): _S.AVAILABLE,
        (_S.ROLLBACKING, _E.ROLLBACK_FAILED): _S.ERROR_ROLLBACKING,
        (_S.ERROR_ROLLBACKING, _E.DELETE): _S.DELETING,
        (_S.AVAILABLE, _E.UPLOAD): _S.UPLOADING,
        (_S.UPLOADING, _E.UPLOADED): _S.AVAILABLE,
        (_S.AVAILABLE, _E.DELETE): _S.DELETING,
        (_S.ERROR, _E.DELETE): _S.DELETING,
        (_S.ERROR_DELETING, _E.DELETE): _S.DELETING,
        (_S.DELETING, _E.DELETION_UNDONE): _S.AVAILABLE,
        (_S.DELETING, _E.DELETE_FAILED): _S.ERROR_DELETING,
    }
)
