"""Key material of the customer's own: parameters for its transport, import, deletion."""

from __future__ import annotations

import hashlib
import json
import time
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

from evsd.key_channel.call import Call
from evsd.key_process import envelope
from evsd.key_process.envelope import Profile, Purpose
from evsd.key_process.own_key import SERVICE_KEY_ID, service_key
from evsd.key_process.token.labels import key_label
from evsd.services.kms.errors import (
    ImportTokenExpired,
    ImportTokenInvalid,
    ImportTokenKeyMismatch,
    KeyNotExternal,
    KeyNotPendingImport,
    MaterialExpiryPast,
    MaterialLengthInvalid,
    MaterialMismatch,
    MaterialNotDeletable,
    MaterialUnwrapFailed,
)
from evsd.services.kms.key_process.key_store import KeyStore, destroy_objects
from evsd.services.kms.key_process.lifecycle import EXTERNAL
from evsd.services.kms.operations import (
    DeleteImportedKeyMaterial,
    GetParametersForImport,
    ImportKeyMaterial,
    ImportParameters,
)
from evsd.services.kms.states import KEY_STATES, KeyEvent, KeyState
from evsd.services.kms.tables import Cmk, KeyVersion
from evsd.store.database import utcnow
from evsd.store.transitions import advance

TOKEN_LIFE_S = 24 * 3600


class KeyImport:
    """Import into keys of origin "external". Each import token is good for one import."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys

    @GetParametersForImport.handler
    def get_parameters_for_import(
        self, call: Call, request: GetParametersForImport
    ) -> ImportParameters:
        """A public key to encrypt the material with, and the token that belongs to it."""
        private, public = envelope.new_transport_key()
        expires = int(time.time()) + TOKEN_LIFE_S
        with self._keys.changing(call, "get-parameters-for-import", request.key_id) as (_, cmk):
            _require_external(cmk)
            if cmk.status != KeyState.PENDING_IMPORT:
                raise KeyNotPendingImport(name=cmk.alias, state=KeyState(cmk.status).word)
            token = self._seal(cmk.id, request.algorithm, expires, private)
            cmk.import_token_sha256 = hashlib.sha256(token).hexdigest()
        return ImportParameters(cmk.id, token, public, expires)

    @ImportKeyMaterial.handler
    def import_key_material(self, call: Call, request: ImportKeyMaterial) -> None:
        """Pending import -> enabled."""
        expires = request.expires
        with self._keys.changing(call, "import-key-material", request.key_id) as (session, cmk):
            _require_external(cmk)
            if cmk.status != KeyState.PENDING_IMPORT:
                raise KeyNotPendingImport(name=cmk.alias, state=KeyState(cmk.status).word)
            if expires is not None and expires <= time.time():
                raise MaterialExpiryPast(value=expires)
            clear = self._open(cmk, request.import_token, request.material)
            version = self._version(session, cmk, envelope.material_digest(cmk.id, clear))
            version.expires_at = None if expires is None else _moment(expires)
            version.gone_at, cmk.import_token_sha256 = None, None
            advance(session, cmk, KEY_STATES, KeyEvent.IMPORT)
            label = key_label(cmk.id, version.version)
            self._keys.token.destroy(label)  # what an interrupted import left
            self._keys.token.import_key(label, clear, Profile(version.profile))

    @DeleteImportedKeyMaterial.handler
    def delete_imported_key_material(self, call: Call, request: DeleteImportedKeyMaterial) -> None:
        """Enabled or disabled -> pending import; the key object is destroyed at once."""
        action = "delete-imported-key-material"
        with self._keys.changing(call, action, request.key_id) as (session, cmk):
            _require_external(cmk)
            if not advance(session, cmk, KEY_STATES, KeyEvent.LOSE_MATERIAL):
                raise MaterialNotDeletable(name=cmk.alias, state=KeyState(cmk.status).word)
        destroy_objects(self._keys, cmk.id)  # if that fails now, `maintenance` does it

    def _version(self, session: Session, cmk: Cmk, digest: str) -> KeyVersion:
        """The one version of an external key; raises `MaterialMismatch`.

        Material that comes back gets the profile it had, or nothing could be read again.
        """
        version = session.get(KeyVersion, (cmk.id, 1))
        if version is None:
            version = KeyVersion(
                key_id=cmk.id,
                version=1,
                profile=self._keys.token.ability.profile,
                created_at=utcnow(),
                material_sha256=digest,
            )
            session.add(version)
        elif version.material_sha256 != digest:
            raise MaterialMismatch(name=cmk.alias)
        return version

    def _seal(self, key_id: str, algorithm: str, expires: int, private: bytes) -> bytes:
        content = {"algorithm": algorithm, "expires": expires, "private_key": private.hex()}
        return envelope.wrap(
            service_key(self._keys.token),
            SERVICE_KEY_ID,
            1,
            json.dumps(content).encode(),
            {"key_id": key_id},
            Purpose.IMPORT_TOKEN,
        )

    def _open(self, cmk: Cmk, token: bytes, material: bytes) -> bytes:
        content = self._content(cmk, token)
        if content["expires"] <= time.time():
            raise ImportTokenExpired()
        if hashlib.sha256(token).hexdigest() != cmk.import_token_sha256:
            raise ImportTokenInvalid(reason="it was used, or replaced by a newer one")
        try:
            clear = envelope.open_material(
                bytes.fromhex(content["private_key"]), content["algorithm"], material
            )
        except ValueError as error:
            raise MaterialUnwrapFailed() from error
        if len(clear) != envelope.MATERIAL_LENGTH:
            raise MaterialLengthInvalid(length=len(clear))
        return clear

    def _content(self, cmk: Cmk, token: bytes) -> dict[str, Any]:
        try:
            parsed = envelope.parse(token, Purpose.IMPORT_TOKEN)
        except envelope.EnvelopeError as error:
            raise ImportTokenInvalid(reason=error) from error
        try:
            opened = envelope.unwrap(service_key(self._keys.token), parsed, {"key_id": cmk.id})
        except envelope.EnvelopeError as error:
            raise ImportTokenKeyMismatch(name=cmk.alias) from error
        content: dict[str, Any] = json.loads(opened)
        return content


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)


def _require_external(cmk: Cmk) -> None:
    if cmk.origin != EXTERNAL:
        raise KeyNotExternal(name=cmk.alias)
