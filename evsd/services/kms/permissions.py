"""Who may do what in the KMS."""

from __future__ import annotations

from enum import StrEnum

from evsd.policy import (
    EVERY_CALLER,
    READERS,
    TENANT_ADMINISTRATOR,
    USER,
    Permission,
    Role,
    Roles,
    declare,
)

KMS_ADMINISTRATOR = Role("KMS Administrator", "kms_adm")
KEY_ADMINISTRATORS = frozenset({KMS_ADMINISTRATOR, TENANT_ADMINISTRATOR})
KEY_USERS = KEY_ADMINISTRATORS | {USER}


class KmsPermission(Permission):
    """What a route needs."""

    KEY_CREATE = "kms:cmk:create"
    KEY_LIST = "kms:cmk:list"
    KEY_SHOW = "kms:cmk:get"
    KEY_ENABLE = "kms:cmk:enable"
    KEY_DISABLE = "kms:cmk:disable"
    KEY_UPDATE = "kms:cmk:update"
    KEY_SCHEDULE_DELETION = "kms:cmk:scheduleDeletion"
    KEY_CANCEL_DELETION = "kms:cmk:cancelDeletion"
    KEY_IMPORT = "kms:cmk:importMaterial"
    KEY_DELETE_MATERIAL = "kms:cmk:deleteMaterial"
    KEY_ROTATE = "kms:cmk:rotate"
    KEY_ROTATION_SHOW = "kms:cmk:getRotation"
    KEY_QUOTA_SHOW = "kms:cmk:getQuota"
    DATAKEY_CREATE = "kms:dek:create"
    DATAKEY_CREATE_SEALED = "kms:dek:createWithoutPlaintext"
    DATAKEY_ENCRYPT = "kms:dek:encrypt"
    DATAKEY_DECRYPT = "kms:dek:decrypt"
    DATA_ENCRYPT = "kms:cmk:encryptData"
    DATA_DECRYPT = "kms:cmk:decryptData"
    RANDOM = "kms:cmk:generate"
    GRANT_CREATE = "kms:grant:create"
    GRANT_LIST = "kms:grant:list"
    GRANT_LIST_RETIRABLE = "kms:grant:listRetirable"
    GRANT_RETIRE = "kms:grant:retire"
    GRANT_REVOKE = "kms:grant:revoke"
    TAG_CHANGE = "kms:cmkTag:change"
    TAG_LIST = "kms:cmkTag:list"


class GrantOperation(StrEnum):
    """What a grant on a key can allow whoever has no role for it, here or in another tenant."""

    CREATE_DATAKEY = "create-datakey"
    CREATE_SEALED_DATAKEY = "create-datakey-without-plaintext"
    ENCRYPT_DATAKEY = "encrypt-datakey"
    DECRYPT_DATAKEY = "decrypt-datakey"
    DESCRIBE_KEY = "describe-key"
    CREATE_GRANT = "create-grant"
    RETIRE_GRANT = "retire-grant"
    ENCRYPT_DATA = "encrypt-data"
    DECRYPT_DATA = "decrypt-data"


GRANTABLE: dict[GrantOperation, KmsPermission] = {
    GrantOperation.CREATE_DATAKEY: KmsPermission.DATAKEY_CREATE,
    GrantOperation.CREATE_SEALED_DATAKEY: KmsPermission.DATAKEY_CREATE_SEALED,
    GrantOperation.ENCRYPT_DATAKEY: KmsPermission.DATAKEY_ENCRYPT,
    GrantOperation.DECRYPT_DATAKEY: KmsPermission.DATAKEY_DECRYPT,
    GrantOperation.DESCRIBE_KEY: KmsPermission.KEY_SHOW,
    GrantOperation.CREATE_GRANT: KmsPermission.GRANT_CREATE,
    GrantOperation.RETIRE_GRANT: KmsPermission.GRANT_RETIRE,
    GrantOperation.ENCRYPT_DATA: KmsPermission.DATA_ENCRYPT,
    GrantOperation.DECRYPT_DATA: KmsPermission.DATA_DECRYPT,
}

POLICY: dict[Permission, Roles] = {
    KmsPermission.KEY_CREATE: KEY_USERS,
    KmsPermission.KEY_LIST: READERS,
    KmsPermission.KEY_SHOW: READERS,
    KmsPermission.KEY_ENABLE: KEY_ADMINISTRATORS,
    KmsPermission.KEY_DISABLE: KEY_ADMINISTRATORS,
    KmsPermission.KEY_UPDATE: KEY_ADMINISTRATORS,
    KmsPermission.KEY_SCHEDULE_DELETION: KEY_ADMINISTRATORS,
    KmsPermission.KEY_CANCEL_DELETION: KEY_ADMINISTRATORS,
    KmsPermission.KEY_IMPORT: KEY_ADMINISTRATORS,
    KmsPermission.KEY_DELETE_MATERIAL: KEY_ADMINISTRATORS,
    KmsPermission.KEY_ROTATE: KEY_ADMINISTRATORS,
    KmsPermission.KEY_ROTATION_SHOW: READERS,
    KmsPermission.KEY_QUOTA_SHOW: READERS,
    KmsPermission.DATAKEY_CREATE: KEY_USERS,
    KmsPermission.DATAKEY_CREATE_SEALED: KEY_USERS,
    KmsPermission.DATAKEY_ENCRYPT: KEY_USERS,
    KmsPermission.DATAKEY_DECRYPT: KEY_USERS,
    KmsPermission.DATA_ENCRYPT: KEY_USERS,
    KmsPermission.DATA_DECRYPT: KEY_USERS,
    KmsPermission.RANDOM: KEY_USERS,
    KmsPermission.GRANT_CREATE: KEY_ADMINISTRATORS,
    KmsPermission.GRANT_LIST: READERS,
    # A grant itself says who may retire it, so no role needs to.
    KmsPermission.GRANT_LIST_RETIRABLE: EVERY_CALLER,
    KmsPermission.GRANT_RETIRE: EVERY_CALLER,
    KmsPermission.GRANT_REVOKE: KEY_ADMINISTRATORS,
    KmsPermission.TAG_CHANGE: KEY_ADMINISTRATORS,
    KmsPermission.TAG_LIST: READERS,
}

declare(
    POLICY,
    roles=[KMS_ADMINISTRATOR],
    audited=KmsPermission,
    grantable=GRANTABLE.values(),
)
