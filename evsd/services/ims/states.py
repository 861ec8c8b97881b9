"""The life of an image: one table, in Glance's words."""

from __future__ import annotations

from enum import StrEnum

from evsd.state_machine import StateMachine


class ImageStatus(StrEnum):
    """Published image states; `pending_delete` is Glance's."""

    QUEUED = "queued"  # it has a record and a key, and no data yet
    SAVING = "saving"
    ACTIVE = "active"  # from here on its data never change
    PENDING_DELETE = "pending_delete"
    KILLED = "killed"  # what is left of it can only be deleted


class ImageEvent(StrEnum):
    """What can happen to an image. Where making one of a volume fails none is left."""

    UPLOAD = "upload"
    UPLOAD_UNDONE = "upload-undone"
    SAVED = "saved"
    SAVE_FAILED = "save-failed"  # and its file could not be removed
    DELETE = "delete"
    DELETION_UNDONE = "deletion-undone"
    DELETE_FAILED = "delete-failed"


_S, _E = ImageStatus, ImageEvent

IMAGE_STATES = StateMachine(
    {
        (_S.QUEUED, _E.UPLOAD): _S.SAVING,
        (_S.SAVING, _E.UPLOAD_UNDONE): _S.QUEUED,
        (_S.SAVING, _E.SAVED): _S.ACTIVE,
        (_S.SAVING, _E.SAVE_FAILED): _S.KILLED,
        (_S.QUEUED, _E.DELETE): _S.PENDING_DELETE,
        (_S.ACTIVE, _E.DELETE): _S.PENDING_DELETE,
        (_S.KILLED, _E.DELETE): _S.PENDING_DELETE,
        (_S.PENDING_DELETE, _E.DELETION_UNDONE): _S.ACTIVE,
        (_S.PENDING_DELETE, _E.DELETE_FAILED): _S.KILLED,
    }
)
