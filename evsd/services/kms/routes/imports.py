"""Import of key material."""

from __future__ import annotations

import base64
from typing import Annotated

from pydantic import Field

from evsd.api.router import Router, router
from evsd.api.routes import Caller, Model, UsesKeys, needs
from evsd.services.kms import operations
from evsd.services.kms.permissions import KmsPermission
from evsd.services.kms.routes.bodies import BASE, Base64, KeyBody, Nothing
from evsd.services.kms.style import KMS


class ParametersBody(KeyBody):
    """get-parameters-for-import."""

    wrapping_algorithm: Annotated[str, Field(pattern="^RSAES_OAEP_SHA_(256|1)$")]


class ImportBody(KeyBody):
    """import-key-material."""

    import_token: Annotated[Base64, Field(min_length=200, max_length=6144)]
    encrypted_key_material: Annotated[Base64, Field(min_length=344, max_length=360)]
    encrypted_privatekey: None = None  # of asymmetric keys
    expiration_time: Annotated[int, Field(ge=0, le=9_999_999_999)] | None = None


class ParametersResponse(Model):
    """Of get-parameters-for-import."""

    key_id: str
    import_token: str
    expiration_time: int
    public_key: str


routes: Router = router(KMS, "KMS")


@routes.post(f"{BASE}/get-parameters-for-import", **needs(KmsPermission.KEY_IMPORT))
async def get_parameters_for_import(
    body: ParametersBody, call: Caller, keys: UsesKeys
) -> ParametersResponse:
    """A public key for the way of the material, and the token that belongs to it."""
    wanted = operations.GetParametersForImport(body.key_id, body.wrapping_algorithm)
    made = await keys.ask(call, wanted)
    return ParametersResponse(
        key_id=made.key_id,
        import_token=base64.b64encode(made.import_token).decode(),
        expiration_time=made.expiration_time,
        public_key=base64.b64encode(made.public_key).decode(),
    )


@routes.post(f"{BASE}/import-key-material", **needs(KmsPermission.KEY_IMPORT))
async def import_key_material(body: ImportBody, call: Caller, keys: UsesKeys) -> Nothing:
    """Give an external key its material."""
    wanted = operations.ImportKeyMaterial(
        key_id=body.key_id,
        import_token=base64.b64decode(body.import_token),
        material=base64.b64decode(body.encrypted_key_material),
        expires=body.expiration_time,
    )
    await keys.ask(call, wanted)
    return Nothing()


@routes.post(f"{BASE}/delete-imported-key-material", **needs(KmsPermission.KEY_DELETE_MATERIAL))
async def delete_imported_key_material(body: KeyBody, call: Caller, keys: UsesKeys) -> Nothing:
    """Destroy the material at once; the same can be imported again."""
    await keys.ask(call, operations.DeleteImportedKeyMaterial(body.key_id))
    return Nothing()
