"""Rotation: a new version of a CMK encrypts from now on, the old ones still decrypt."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from evsd.key_channel.call import Call
from evsd.key_process.token.labels import key_label
from evsd.services.kms.errors import (
    KeyNotRotatable,
    RotationEnabledAlready,
    RotationNotEnabled,
)
from evsd.services.kms.key_process.key_store import KeyStore, find
from evsd.services.kms.key_process.key_usable import check_usable
from evsd.services.kms.key_process.lifecycle import EXTERNAL
from evsd.services.kms.operations import (
    DisableKeyRotation,
    EnableKeyRotation,
    KeyRotationStatus,
    RotateOnDemand,
    RotationStatus,
    UpdateKeyRotationInterval,
)
from evsd.services.kms.tables import Cmk, KeyVersion
from evsd.store.database import utcnow

DEFAULT_DAYS = 365


class Rotation:
    """When keys are rotated, and the rotation itself."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys

    @EnableKeyRotation.handler
    def enable_key_rotation(self, call: Call, request: EnableKeyRotation) -> None:
        """Rotate the key every year from now on; raises `RotationEnabledAlready`."""
        with self._keys.changing(call, "enable-key-rotation", request.key_id) as (_, cmk):
            _require_rotatable(cmk)
            if cmk.rotation_days is not None:
                raise RotationEnabledAlready(name=cmk.alias)
            cmk.rotation_days, cmk.rotation_from = DEFAULT_DAYS, utcnow()

    @DisableKeyRotation.handler
    def disable_key_rotation(self, call: Call, request: DisableKeyRotation) -> None:
        """Rotate the key no more; raises `RotationNotEnabled`."""
        with self._keys.changing(call, "disable-key-rotation", request.key_id) as (_, cmk):
            _require_rotated(cmk)
            cmk.rotation_days = None

    @UpdateKeyRotationInterval.handler
    def update_key_rotation_interval(self, call: Call, request: UpdateKeyRotationInterval) -> None:
        """Rotate every `days` days; raises `RotationNotEnabled`."""
        action, wanted = "update-key-rotation-interval", {"days": str(request.days)}
        with self._keys.changing(call, action, request.key_id, wanted) as (_, cmk):
            _require_rotated(cmk)
            cmk.rotation_days = request.days

    @KeyRotationStatus.handler
    def key_rotation_status(self, call: Call, request: KeyRotationStatus) -> RotationStatus:
        """How often the key is rotated, and its versions."""
        with self._keys.database.reading() as session:
            cmk = find(session, call, request.key_id)
            query = select(KeyVersion).where(KeyVersion.key_id == cmk.id)
            found = list(session.scalars(query.order_by(KeyVersion.version)))
        return RotationStatus(
            enabled=cmk.rotation_days is not None,
            interval_days=cmk.rotation_days or DEFAULT_DAYS,
            versions=[version.created_at for version in found],
        )

    @RotateOnDemand.handler
    def rotate_on_demand(self, call: Call, request: RotateOnDemand) -> str:
        """Rotate the key now; raises `KeyNotRotatable`, `KeyUnusable`."""
        with self._keys.changing(call, "rotate-on-demand", request.key_id) as (session, cmk):
            _require_rotatable(cmk)
            self._rotate(session, cmk)
        return cmk.id

    def _rotate(self, session: Session, cmk: Cmk) -> None:
        """Object first, record second.

        An object that is there already was left by a crash, or the records are older than it,
        from a backup: then it is in use, and what it encrypted can be read again.
        """
        check_usable(cmk)
        made = self._keys.token.settle(key_label(cmk.id, cmk.version + 1))
        cmk.version, cmk.rotation_from = cmk.version + 1, utcnow()
        session.add(
            KeyVersion(
                key_id=cmk.id, version=cmk.version, profile=made.profile, created_at=utcnow()
            )
        )


def _require_rotatable(cmk: Cmk) -> None:
    if cmk.origin == EXTERNAL:
        raise KeyNotRotatable(name=cmk.alias)


def _require_rotated(cmk: Cmk) -> None:
    _require_rotatable(cmk)
    if cmk.rotation_days is None:
        raise RotationNotEnabled(name=cmk.alias)
