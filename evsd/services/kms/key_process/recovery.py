"""Keys whose records were lost with the database: their objects are on the token still.

A token object says no more than its id and version. Whose it is, is proved by a data key it
wrapped: the envelope authenticates the CMK's id and version, and the project in its context.
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from evsd.key_channel.call import Call
from evsd.key_process.token.labels import key_label
from evsd.services.kms.errors import KeyNotFound
from evsd.services.kms.key_process.key_store import KeyStore
from evsd.services.kms.key_process.lifecycle import KMS
from evsd.services.kms.operations import RecoverKey
from evsd.services.kms.states import KeyState
from evsd.services.kms.tables import Cmk, KeyVersion
from evsd.store.database import utcnow


class KeyRecovery:
    """Registers CMKs anew."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys

    @RecoverKey.handler
    def recover_key(self, call: Call, request: RecoverKey) -> None:
        """Make sure that the CMK of a volume of the caller's project has a record.

        One that has none gets it, disabled: nobody knows any more whether it was to be used. One
        that is there gets the versions it has lost, if the database is older than the last
        rotation; if it may be used, the data key is tried. Raises `KeyNotFound` and
        `CiphertextInvalid`.
        """
        key_id, wrapped, context = request.key_id, request.wrapped_dek, request.context
        with (
            self._keys.database.transaction() as session,
            self._keys.used(call, "recover-key", key_id, context) as use,
        ):
            cmk = session.get(Cmk, key_id)
            if cmk is None:
                cmk = _record(call, key_id)
                cmk.version = self._newest_version(key_id)
                self._keys.unwrap(use, cmk, wrapped, context)
                session.add(cmk)
                session.flush()
                self._add_versions(session, cmk, first=1)
            elif cmk.project_id != call.project_id:
                raise KeyNotFound(key_id=key_id)
            elif cmk.status in (KeyState.ENABLED, KeyState.DISABLED):
                known, cmk.version = cmk.version, self._newest_version(key_id)
                self._add_versions(session, cmk, first=known + 1)
            if cmk.status == KeyState.ENABLED:
                self._keys.unwrap(use, cmk, wrapped, context)

    def _newest_version(self, key_id: str) -> int:
        """The newest version of the key on the token; there are no gaps between them."""
        newest = 0
        while self._keys.token.has(key_label(key_id, newest + 1)):
            newest += 1
        if newest == 0:
            raise KeyNotFound(key_id=key_id)
        return newest

    def _add_versions(self, session: Session, cmk: Cmk, *, first: int) -> None:
        for number in range(first, cmk.version + 1):
            profile = self._keys.token_key(cmk.id, number).profile
            version = KeyVersion(
                key_id=cmk.id, version=number, profile=profile, created_at=utcnow()
            )
            session.add(version)


def _record(call: Call, key_id: str) -> Cmk:
    return Cmk(
        id=key_id,
        domain_id=call.domain_id,
        project_id=call.project_id,
        alias=f"recovered/{key_id[:8]}",
        description="its record was lost and made anew",
        status=KeyState.DISABLED,
        is_default=False,
        version=1,
        created_at=utcnow(),
        origin=KMS,
    )
