"""Whether a key may be used: its state decides, for data keys, attached volumes and all else."""

from __future__ import annotations

from evsd.services.kms.errors import KeyDisabled, KeyPendingDeletion, KeyWithoutMaterial
from evsd.services.kms.states import KeyState
from evsd.services.kms.tables import Cmk

_UNUSABLE = {
    KeyState.DISABLED: KeyDisabled,
    KeyState.PENDING_DELETION: KeyPendingDeletion,
    KeyState.PENDING_IMPORT: KeyWithoutMaterial,
}


def check_usable(cmk: Cmk) -> None:
    """Raise the `KeyUnusable` of the key's state, if that forbids its use."""
    refusal = _UNUSABLE.get(KeyState(cmk.status))
    if refusal is not None:
        raise refusal(name=cmk.alias)
