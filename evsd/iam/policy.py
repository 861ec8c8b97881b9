"""Who may do what: the one policy table. What it doesn't list is denied."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """The published roles, as far as they differ yet."""

    SECURITY_ADMINISTRATOR = "Security Administrator"
    TENANT_ADMINISTRATOR = "Tenant Administrator"
    USER = "ordinary user"


# What a tenant delegates: this role, to the domain of the volume service.
KMS_ADMINISTRATOR = "kms_adm"
VOLUME_SERVICE = "op_svc_evs"


class Permission(StrEnum):
    """What a route needs; each route names one."""

    KEY_CREATE = "kms:cmk:create"
    KEY_LIST = "kms:cmk:list"
    KEY_SHOW = "kms:cmk:get"
    KEY_ENABLE = "kms:cmk:enable"
    KEY_DISABLE = "kms:cmk:disable"
    DATAKEY_CREATE = "kms:dek:create"
    DATAKEY_DECRYPT = "kms:dek:decrypt"
    VOLUME_CREATE = "evs:volumes:create"
    VOLUME_LIST = "evs:volumes:list"
    VOLUME_SHOW = "evs:volumes:get"
    VOLUME_DELETE = "evs:volumes:delete"
    VOLUME_ATTACH = "evs:volumes:attach"
    VOLUME_DETACH = "evs:volumes:detach"
    ATTACHMENT_SHOW = "evs:attachments:get"
    JOB_SHOW = "evs:jobs:get"
    PROJECT_LIST = "iam:projects:list"
    ROLE_LIST = "iam:roles:list"
    AGENCY_CREATE = "iam:agencies:create"
    AGENCY_LIST = "iam:agencies:list"
    AGENCY_DELETE = "iam:agencies:delete"
    AGENCY_GRANT = "iam:permissions:grantRoleToAgency"
    AGENCY_REVOKE = "iam:permissions:revokeRoleFromAgency"
    ACCESS_KEY_CREATE = "iam:credentials:create"
    ACCESS_KEY_LIST = "iam:credentials:list"
    ACCESS_KEY_DELETE = "iam:credentials:delete"


EVERYBODY = frozenset(Role)
ADMINISTRATORS = frozenset({Role.SECURITY_ADMINISTRATOR, Role.TENANT_ADMINISTRATOR})
SECURITY = frozenset({Role.SECURITY_ADMINISTRATOR})

POLICY: dict[Permission, frozenset[Role]] = {
    Permission.KEY_CREATE: EVERYBODY,
    Permission.KEY_LIST: EVERYBODY,
    Permission.KEY_SHOW: EVERYBODY,
    Permission.KEY_ENABLE: ADMINISTRATORS,
    Permission.KEY_DISABLE: ADMINISTRATORS,
    Permission.DATAKEY_CREATE: EVERYBODY,
    Permission.DATAKEY_DECRYPT: EVERYBODY,
    Permission.VOLUME_CREATE: EVERYBODY,
    Permission.VOLUME_LIST: EVERYBODY,
    Permission.VOLUME_SHOW: EVERYBODY,
    Permission.VOLUME_DELETE: EVERYBODY,
    Permission.VOLUME_ATTACH: EVERYBODY,
    Permission.VOLUME_DETACH: EVERYBODY,
    Permission.ATTACHMENT_SHOW: EVERYBODY,
    Permission.JOB_SHOW: EVERYBODY,
    Permission.PROJECT_LIST: EVERYBODY,
    Permission.ROLE_LIST: EVERYBODY,
    Permission.AGENCY_CREATE: SECURITY,
    Permission.AGENCY_LIST: EVERYBODY,
    Permission.AGENCY_DELETE: SECURITY,
    Permission.AGENCY_GRANT: SECURITY,
    Permission.AGENCY_REVOKE: SECURITY,
    Permission.ACCESS_KEY_CREATE: SECURITY,
    Permission.ACCESS_KEY_LIST: SECURITY,
    Permission.ACCESS_KEY_DELETE: SECURITY,
}


def allowed(permission: Permission, roles: frozenset[Role]) -> bool:
    """Whether any of these roles has the permission."""
    return bool(POLICY.get(permission, frozenset()) & roles)


def roles_with(permission: Permission) -> str:
    """The roles to ask, for messages."""
    return ", ".join(sorted(POLICY.get(permission, frozenset())))
