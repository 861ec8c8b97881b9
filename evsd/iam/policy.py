"""Who may do what: the one policy table. What it doesn't list is denied."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """The roles. Groups hold them, for a domain with all its projects or for one project."""

    SECURITY_ADMINISTRATOR = "Security Administrator"
    KMS_ADMINISTRATOR = "KMS Administrator"
    EVS_ADMINISTRATOR = "EVS Administrator"
    TENANT_ADMINISTRATOR = "Tenant Administrator"
    USER = "ordinary user"
    READ_ONLY = "read-only"
    # Nobody is given this one: root and the user that started evsd have it, on the unix socket.
    OPERATOR = "operator"


# What a tenant delegates: this role, to the domain of the volume service.
KMS_ADMINISTRATOR = "kms_adm"
VOLUME_SERVICE = "op_svc_evs"

# The roles that groups and agencies can be given, by their published names, which are also ids.
ROLES = {
    "secu_admin": Role.SECURITY_ADMINISTRATOR,
    KMS_ADMINISTRATOR: Role.KMS_ADMINISTRATOR,
    "evs_adm": Role.EVS_ADMINISTRATOR,
    "te_admin": Role.TENANT_ADMINISTRATOR,
    "user": Role.USER,
    "readonly": Role.READ_ONLY,
}


class Permission(StrEnum):
    """What a route needs; each route names one."""

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
    VERSION_SHOW = "kms:versions:list"
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
    VOLUME_CREATE = "evs:volumes:create"
    VOLUME_LIST = "evs:volumes:list"
    VOLUME_SHOW = "evs:volumes:get"
    VOLUME_UPDATE = "evs:volumes:update"
    VOLUME_EXTEND = "evs:volumes:extend"
    VOLUME_MANAGE = "evs:volumes:manage"
    VOLUME_DELETE = "evs:volumes:delete"
    HEADER_BACKUP = "evs:volumes:backupHeader"
    HEADER_RESTORE = "evs:volumes:restoreHeader"
    VOLUME_ATTACH = "evs:volumes:attach"
    VOLUME_DETACH = "evs:volumes:detach"
    ATTACHMENT_SHOW = "evs:attachments:get"
    JOB_SHOW = "evs:jobs:get"
    VOLUME_QUOTA_SHOW = "evs:quotas:get"
    VOLUME_QUOTA_UPDATE = "evs:quotas:update"
    POOL_SHOW = "evs:pools:get"
    STATUS_SHOW = "evs:status:get"
    DOMAIN_CREATE = "iam:domains:create"
    DOMAIN_LIST = "iam:domains:list"
    OWN_DOMAIN_LIST = "iam:domains:listOwn"
    REGION_LIST = "iam:regions:list"
    PROJECT_LIST = "iam:projects:listOwn"
    PROJECT_SHOW = "iam:projects:get"
    PROJECT_CREATE = "iam:projects:create"
    PROJECT_UPDATE = "iam:projects:update"
    QUOTA_SHOW = "iam:quotas:get"
    ROLE_LIST = "iam:roles:list"
    USER_LIST = "iam:users:list"
    USER_SHOW = "iam:users:get"
    OWN_USER_SHOW = "iam:users:getOwn"
    USER_CREATE = "iam:users:create"
    USER_UPDATE = "iam:users:update"
    USER_DELETE = "iam:users:delete"
    GROUP_LIST = "iam:groups:list"
    GROUP_SHOW = "iam:groups:get"
    GROUP_CREATE = "iam:groups:create"
    GROUP_DELETE = "iam:groups:delete"
    MEMBER_LIST = "iam:groups:listUsers"
    MEMBER_ADD = "iam:groups:addUser"
    MEMBER_REMOVE = "iam:groups:removeUser"
    GROUP_ROLE_LIST = "iam:permissions:listRolesOfGroup"
    GROUP_ROLE_GRANT = "iam:permissions:grantRoleToGroup"
    GROUP_ROLE_REVOKE = "iam:permissions:revokeRoleFromGroup"
    AGENCY_CREATE = "iam:agencies:create"
    AGENCY_LIST = "iam:agencies:list"
    AGENCY_UPDATE = "iam:agencies:update"
    AGENCY_DELETE = "iam:agencies:delete"
    AGENCY_GRANT = "iam:permissions:grantRoleToAgency"
    AGENCY_REVOKE = "iam:permissions:revokeRoleFromAgency"
    AGENCY_ASSUME = "iam:agencies:assume"
    OWN_ACCESS_KEY_CREATE = "iam:credentials:createOwn"
    OWN_ACCESS_KEY_LIST = "iam:credentials:listOwn"
    OWN_ACCESS_KEY_UPDATE = "iam:credentials:updateOwn"
    OWN_ACCESS_KEY_DELETE = "iam:credentials:deleteOwn"
    ACCESS_KEY_CREATE = "iam:credentials:create"
    ACCESS_KEY_LIST = "iam:credentials:list"
    ACCESS_KEY_UPDATE = "iam:credentials:update"
    ACCESS_KEY_DELETE = "iam:credentials:delete"
    AUDIT_LIST = "audit:records:list"
    AUDIT_VERIFY = "audit:records:verify"
    TEMPORARY_KEY_CREATE = "iam:securitytokens:createOwn"


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


GRANTABLE: dict[GrantOperation, Permission] = {
    GrantOperation.CREATE_DATAKEY: Permission.DATAKEY_CREATE,
    GrantOperation.CREATE_SEALED_DATAKEY: Permission.DATAKEY_CREATE_SEALED,
    GrantOperation.ENCRYPT_DATAKEY: Permission.DATAKEY_ENCRYPT,
    GrantOperation.DECRYPT_DATAKEY: Permission.DATAKEY_DECRYPT,
    GrantOperation.DESCRIBE_KEY: Permission.KEY_SHOW,
    GrantOperation.CREATE_GRANT: Permission.GRANT_CREATE,
    GrantOperation.RETIRE_GRANT: Permission.GRANT_RETIRE,
    GrantOperation.ENCRYPT_DATA: Permission.DATA_ENCRYPT,
    GrantOperation.DECRYPT_DATA: Permission.DATA_DECRYPT,
}
GRANTABLE_PERMISSIONS = frozenset(GRANTABLE.values())
READING = ("list", "get")
# To use keys, or to change who may do what: of these every refusal is recorded.
AUDITED = frozenset(
    p
    for p in Permission
    if p.startswith("kms:")
    or (p.startswith("iam:") and not p.rsplit(":", 1)[1].startswith(READING))
)


READERS = frozenset(ROLES.values())
KEY_ADMINISTRATORS = frozenset({Role.KMS_ADMINISTRATOR, Role.TENANT_ADMINISTRATOR})
KEY_USERS = KEY_ADMINISTRATORS | {Role.USER}
VOLUME_USERS = frozenset({Role.EVS_ADMINISTRATOR, Role.TENANT_ADMINISTRATOR, Role.USER})
SECURITY = frozenset({Role.SECURITY_ADMINISTRATOR})
IDENTITY_READERS = SECURITY | {Role.READ_ONLY}
ASSUMERS = frozenset({Role.SECURITY_ADMINISTRATOR, Role.TENANT_ADMINISTRATOR})
OPERATOR = frozenset({Role.OPERATOR})
# Known callers without any role too, for it concerns nobody but themselves.
EVERY_CALLER = frozenset({None, *Role})

POLICY: dict[Permission, frozenset[Role] | frozenset[Role | None]] = {
    Permission.KEY_CREATE: KEY_USERS,
    Permission.KEY_LIST: READERS,
    Permission.KEY_SHOW: READERS,
    Permission.KEY_ENABLE: KEY_ADMINISTRATORS,
    Permission.KEY_DISABLE: KEY_ADMINISTRATORS,
    Permission.KEY_UPDATE: KEY_ADMINISTRATORS,
    Permission.KEY_SCHEDULE_DELETION: KEY_ADMINISTRATORS,
    Permission.KEY_CANCEL_DELETION: KEY_ADMINISTRATORS,
    Permission.KEY_IMPORT: KEY_ADMINISTRATORS,
    Permission.KEY_DELETE_MATERIAL: KEY_ADMINISTRATORS,
    Permission.KEY_ROTATE: KEY_ADMINISTRATORS,
    Permission.KEY_ROTATION_SHOW: READERS,
    Permission.VERSION_SHOW: EVERY_CALLER,
    Permission.KEY_QUOTA_SHOW: READERS,
    Permission.DATAKEY_CREATE: KEY_USERS,
    Permission.DATAKEY_CREATE_SEALED: KEY_USERS,
    Permission.DATAKEY_ENCRYPT: KEY_USERS,
    Permission.DATAKEY_DECRYPT: KEY_USERS,
    Permission.DATA_ENCRYPT: KEY_USERS,
    Permission.DATA_DECRYPT: KEY_USERS,
    Permission.RANDOM: KEY_USERS,
    Permission.GRANT_CREATE: KEY_ADMINISTRATORS,
    Permission.GRANT_LIST: READERS,
    # A grant itself says who may retire it, so no role needs to.
    Permission.GRANT_LIST_RETIRABLE: EVERY_CALLER,
    Permission.GRANT_RETIRE: EVERY_CALLER,
    Permission.GRANT_REVOKE: KEY_ADMINISTRATORS,
    Permission.TAG_CHANGE: KEY_ADMINISTRATORS,
    Permission.TAG_LIST: READERS,
    Permission.VOLUME_CREATE: VOLUME_USERS,
    Permission.VOLUME_LIST: READERS,
    Permission.VOLUME_SHOW: READERS,
    Permission.VOLUME_UPDATE: VOLUME_USERS,
    Permission.VOLUME_EXTEND: VOLUME_USERS,
    Permission.VOLUME_MANAGE: OPERATOR,
    Permission.VOLUME_DELETE: VOLUME_USERS,
    # With a keyslot that an administrator added, a backup is as good as the right to attach.
    Permission.HEADER_BACKUP: VOLUME_USERS,
    Permission.HEADER_RESTORE: VOLUME_USERS,
    Permission.VOLUME_ATTACH: VOLUME_USERS,
    Permission.VOLUME_DETACH: VOLUME_USERS,
    Permission.ATTACHMENT_SHOW: READERS,
    Permission.JOB_SHOW: READERS,
    Permission.VOLUME_QUOTA_SHOW: READERS,
    # How much of the host's disks tenants get is the operator's business, and so are the disks.
    Permission.VOLUME_QUOTA_UPDATE: OPERATOR,
    Permission.POOL_SHOW: OPERATOR,
    Permission.STATUS_SHOW: EVERY_CALLER,
    Permission.DOMAIN_CREATE: OPERATOR,
    Permission.DOMAIN_LIST: OPERATOR,
    Permission.OWN_DOMAIN_LIST: EVERY_CALLER,
    Permission.REGION_LIST: EVERY_CALLER,
    Permission.PROJECT_LIST: EVERY_CALLER,
    Permission.PROJECT_SHOW: READERS,
    Permission.PROJECT_CREATE: SECURITY,
    Permission.PROJECT_UPDATE: SECURITY,
    Permission.QUOTA_SHOW: READERS,
    Permission.ROLE_LIST: EVERY_CALLER,
    Permission.USER_LIST: IDENTITY_READERS,
    Permission.USER_SHOW: IDENTITY_READERS,
    Permission.OWN_USER_SHOW: EVERY_CALLER,
    Permission.USER_CREATE: SECURITY,
    Permission.USER_UPDATE: SECURITY,
    Permission.USER_DELETE: SECURITY,
    Permission.GROUP_LIST: IDENTITY_READERS,
    Permission.GROUP_SHOW: IDENTITY_READERS,
    Permission.GROUP_CREATE: SECURITY,
    Permission.GROUP_DELETE: SECURITY,
    Permission.MEMBER_LIST: IDENTITY_READERS,
    Permission.MEMBER_ADD: SECURITY,
    Permission.MEMBER_REMOVE: SECURITY,
    Permission.GROUP_ROLE_LIST: IDENTITY_READERS,
    Permission.GROUP_ROLE_GRANT: SECURITY,
    Permission.GROUP_ROLE_REVOKE: SECURITY,
    Permission.AGENCY_CREATE: SECURITY,
    Permission.AGENCY_LIST: READERS,
    Permission.AGENCY_UPDATE: SECURITY,
    Permission.AGENCY_DELETE: SECURITY,
    Permission.AGENCY_GRANT: SECURITY,
    Permission.AGENCY_REVOKE: SECURITY,
    Permission.AGENCY_ASSUME: ASSUMERS,
    Permission.OWN_ACCESS_KEY_CREATE: EVERY_CALLER,
    Permission.OWN_ACCESS_KEY_LIST: EVERY_CALLER,
    Permission.OWN_ACCESS_KEY_UPDATE: EVERY_CALLER,
    Permission.OWN_ACCESS_KEY_DELETE: EVERY_CALLER,
    Permission.ACCESS_KEY_CREATE: SECURITY,
    Permission.ACCESS_KEY_LIST: IDENTITY_READERS,
    Permission.ACCESS_KEY_UPDATE: SECURITY,
    Permission.ACCESS_KEY_DELETE: SECURITY,
    Permission.AUDIT_LIST: SECURITY,
    Permission.AUDIT_VERIFY: OPERATOR,
    Permission.TEMPORARY_KEY_CREATE: EVERY_CALLER,
}


def allowed(permission: Permission, roles: frozenset[Role]) -> bool:
    """Whether a known caller with these roles has the permission."""
    return not POLICY.get(permission, frozenset()).isdisjoint({None, *roles})


def roles_with(permission: Permission) -> str:
    """The roles to ask, for messages."""
    return ", ".join(sorted(role for role in POLICY.get(permission, frozenset()) if role))


def permissions_of(role: Role) -> list[Permission]:
    """What a role allows."""
    return [permission for permission, roles in POLICY.items() if role in roles]
