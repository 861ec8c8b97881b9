"""Who may do what in IAM."""

from __future__ import annotations

from evsd.policy import (
    EVERY_CALLER,
    ONLY_OPERATOR,
    READ_ONLY,
    READERS,
    SECURITY,
    SECURITY_ADMINISTRATOR,
    TENANT_ADMINISTRATOR,
    Permission,
    Roles,
    declare,
)

IDENTITY_READERS = SECURITY | {READ_ONLY}
ASSUMERS = frozenset({SECURITY_ADMINISTRATOR, TENANT_ADMINISTRATOR})
READING = ("list", "get")


class IamPermission(Permission):
    """What a route needs."""

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
    TEMPORARY_KEY_CREATE = "iam:securitytokens:createOwn"
    OWN_TOKEN_CREATE = "iam:tokens:createOwn"  # noqa: S105 - a permission
    OWN_TOKEN_LIST = "iam:tokens:listOwn"  # noqa: S105
    OWN_TOKEN_REVOKE = "iam:tokens:revokeOwn"  # noqa: S105
    TOKEN_LIST = "iam:tokens:list"  # noqa: S105
    TOKEN_REVOKE = "iam:tokens:revoke"  # noqa: S105


POLICY: dict[Permission, Roles] = {
    IamPermission.DOMAIN_CREATE: ONLY_OPERATOR,
    IamPermission.DOMAIN_LIST: ONLY_OPERATOR,
    IamPermission.OWN_DOMAIN_LIST: EVERY_CALLER,
    IamPermission.REGION_LIST: EVERY_CALLER,
    IamPermission.PROJECT_LIST: EVERY_CALLER,
    IamPermission.PROJECT_SHOW: READERS,
    IamPermission.PROJECT_CREATE: SECURITY,
    IamPermission.PROJECT_UPDATE: SECURITY,
    IamPermission.QUOTA_SHOW: READERS,
    IamPermission.ROLE_LIST: EVERY_CALLER,
    IamPermission.USER_LIST: IDENTITY_READERS,
    IamPermission.USER_SHOW: IDENTITY_READERS,
    IamPermission.OWN_USER_SHOW: EVERY_CALLER,
    IamPermission.USER_CREATE: SECURITY,
    IamPermission.USER_UPDATE: SECURITY,
    IamPermission.USER_DELETE: SECURITY,
    IamPermission.GROUP_LIST: IDENTITY_READERS,
    IamPermission.GROUP_SHOW: IDENTITY_READERS,
    IamPermission.GROUP_CREATE: SECURITY,
    IamPermission.GROUP_DELETE: SECURITY,
    IamPermission.MEMBER_LIST: IDENTITY_READERS,
    IamPermission.MEMBER_ADD: SECURITY,
    IamPermission.MEMBER_REMOVE: SECURITY,
    IamPermission.GROUP_ROLE_LIST: IDENTITY_READERS,
    IamPermission.GROUP_ROLE_GRANT: SECURITY,
    IamPermission.GROUP_ROLE_REVOKE: SECURITY,
    IamPermission.AGENCY_CREATE: SECURITY,
    IamPermission.AGENCY_LIST: READERS,
    IamPermission.AGENCY_UPDATE: SECURITY,
    IamPermission.AGENCY_DELETE: SECURITY,
    IamPermission.AGENCY_GRANT: SECURITY,
    IamPermission.AGENCY_REVOKE: SECURITY,
    IamPermission.AGENCY_ASSUME: ASSUMERS,
    IamPermission.OWN_ACCESS_KEY_CREATE: EVERY_CALLER,
    IamPermission.OWN_ACCESS_KEY_LIST: EVERY_CALLER,
    IamPermission.OWN_ACCESS_KEY_UPDATE: EVERY_CALLER,
    IamPermission.OWN_ACCESS_KEY_DELETE: EVERY_CALLER,
    IamPermission.ACCESS_KEY_CREATE: SECURITY,
    IamPermission.ACCESS_KEY_LIST: IDENTITY_READERS,
    IamPermission.ACCESS_KEY_UPDATE: SECURITY,
    IamPermission.ACCESS_KEY_DELETE: SECURITY,
    IamPermission.TEMPORARY_KEY_CREATE: EVERY_CALLER,
    IamPermission.OWN_TOKEN_CREATE: EVERY_CALLER,
    IamPermission.OWN_TOKEN_LIST: EVERY_CALLER,
    IamPermission.OWN_TOKEN_REVOKE: EVERY_CALLER,
    IamPermission.TOKEN_LIST: IDENTITY_READERS,
    IamPermission.TOKEN_REVOKE: SECURITY,
}

# To change who may do what: of that every refusal is recorded.
declare(POLICY, audited=[p for p in IamPermission if not p.rsplit(":", 1)[1].startswith(READING)])
