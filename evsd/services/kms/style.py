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
    malformed=e.KmsBadJson,
    missing=e.KmsMissing,
    invalid=e.KmsBadParameter,
    forbidden=e.KmsForbidden,
    foreign_project=e.KmsProjectMismatch,
    storage=shared.KmsStorage,
    fields={
        "key_id": e.KmsBadKeyId,
        "sequence": e.KmsBadSequence,
        "key_alias": e.BadAlias,
        "key_description": e.BadDescription,
        "limit": e.BadLimit,
        "marker": e.BadMarker,
        "encryption_context": e.BadEncryptionContext,
        "additional_authenticated_data": e.BadEncryptionContext,
        "datakey_length": e.DatakeyLengthRange,
        "cipher_text": e.BadCiphertext,
        "datakey_cipher_length": e.DatakeyCipherLength,
        "plain_text": e.BadPlaintext,
        "datakey_plain_length": e.DatakeyPlainLength,
        "random_data_length": e.RandomLengthBad,
        "pending_days": e.PendingDaysBad,
        "rotation_interval": e.RotationIntervalBad,
        "grantee_principal": e.GranteeBad,
        "retiring_principal": e.GranteeBad,
        "grant_id": e.GrantIdBad,
        "operations": e.GrantFailed,
        "expiration_time": e.MaterialExpiryPast,
        "import_token": e.ImportTokenInvalid,
        "action": e.TagActionUnknown,
        "offset": e.BadOffset,
        "tags": e.BadTagKey,
        "key": e.BadTagKey,
        "value": e.BadTagValue,
        "values": e.BadTagValue,
    },
)
