"""How the KMS draws an error, and which published code a bad field has."""

from __future__ import annotations

from typing import Any

from evsd import errors as shared
from evsd.api.errors import Style
from evsd.errors import PublishedError
from evsd.services.kms import errors as e


def _kms_body(error: PublishedError) -> dict[str, Any]:
    return {"error": {"error_code": error.code, "error_msg": error.text}}


KMS = Style(
    body=_kms_body,
    malformed=e.KmsBodyInvalid,
    missing=e.KmsFieldMissing,
    invalid=e.KmsFieldInvalid,
    forbidden=e.KmsForbidden,
    foreign_project=e.KmsProjectMismatch,
    storage=shared.KeyStorageFailed,
    fields={
        "key_id": e.KeyIdInvalid,
        "sequence": e.SequenceInvalid,
        "key_alias": e.AliasInvalid,
        "key_description": e.KeyDescriptionInvalid,
        "limit": e.KmsLimitInvalid,
        "marker": e.KmsMarkerInvalid,
        "encryption_context": e.EncryptionContextInvalid,
        "additional_authenticated_data": e.EncryptionContextInvalid,
        "datakey_length": e.DatakeyLengthOutOfRange,
        "cipher_text": e.CiphertextInvalid,
        "datakey_cipher_length": e.DatakeyCipherLengthInvalid,
        "plain_text": e.PlaintextInvalid,
        "datakey_plain_length": e.DatakeyPlainLengthInvalid,
        "random_data_length": e.RandomLengthInvalid,
        "pending_days": e.PendingDaysInvalid,
        "rotation_interval": e.RotationIntervalInvalid,
        "grantee_principal": e.GranteeInvalid,
        "retiring_principal": e.GranteeInvalid,
        "grant_id": e.GrantIdInvalid,
        "operations": e.GrantInvalid,
        "expiration_time": e.MaterialExpiryPast,
        "import_token": e.ImportTokenInvalid,
        "action": e.TagActionUnknown,
        "offset": e.KmsOffsetInvalid,
        "tags": e.TagKeyInvalid,
        "key": e.TagKeyInvalid,
        "value": e.TagValueInvalid,
        "values": e.TagValueInvalid,
    },
)
