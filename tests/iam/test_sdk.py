"""Every operation on identity, by the cloud's own SDK, done and refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import huaweicloudsdkiam.v3 as iam
import pytest
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException

from tests.support.identity import Caller, Tenant

UNKNOWN = "0" * 32


@pytest.fixture(scope="module")
def sdk(acme: Tenant) -> Any:
    return acme.administrator.sdk()


@pytest.fixture(scope="module")
def ordinary(acme: Tenant) -> Caller:
    return acme.user("ordinary", "user")


def refusal(call: Callable[[Any], Any], request: Any) -> tuple[int, str]:
    with pytest.raises(ClientRequestException) as caught:
        call(request)
    return caught.value.status_code, caught.value.error_code


def new_user(sdk: Any, acme: Tenant, name: str) -> str:
    option = iam.CreateUserOption(name=name, domain_id=acme.domain_id)
    made = sdk.create_user(iam.CreateUserRequest(iam.CreateUserRequestBody(user=option)))
    return str(made.user.id)


def new_group(sdk: Any, name: str) -> str:
    option = iam.KeystoneCreateGroupOption(name=name)
    body = iam.KeystoneCreateGroupRequestBody(group=option)
    return str(sdk.keystone_create_group(iam.KeystoneCreateGroupRequest(body)).group.id)


def new_agency(sdk: Any, acme: Tenant, name: str, **fields: Any) -> Any:
    option = iam.CreateAgencyOption(name=name, domain_id=acme.domain_id, **fields)
    body = iam.CreateAgencyRequestBody(agency=option)
    return sdk.create_agency(iam.CreateAgencyRequest(body)).agency


def test_the_callers_domain_is_shown(sdk: Any, acme: Tenant) -> None:
    domains = sdk.keystone_list_auth_domains(iam.KeystoneListAuthDomainsRequest()).domains
    assert [(d.id, d.name, d.enabled) for d in domains] == [(acme.domain_id, "acme", True)]


def test_the_region_is_shown(sdk: Any) -> None:
    regions = sdk.keystone_list_regions(iam.KeystoneListRegionsRequest()).regions
    assert [region.id for region in regions] == ["local"]
    shown = sdk.keystone_show_region(iam.KeystoneShowRegionRequest("local")).region
    assert shown.id == "local"
    request = iam.KeystoneShowRegionRequest("elsewhere")
    assert refusal(sdk.keystone_show_region, request) == (404, "IAM.0004")


def test_a_project_is_made_shown_changed_and_listed(sdk: Any, acme: Tenant) -> None:
    option = iam.KeystoneCreateProjectOption(name="local_dev", parent_id=acme.domain_id)
    create = iam.KeystoneCreateProjectRequest(iam.KeystoneCreateProjectRequestBody(option))
    made = sdk.keystone_create_project(create).project
    assert (made.domain_id, made.parent_id) == (acme.domain_id, acme.domain_id)
    assert refusal(sdk.keystone_create_project, create) == (409, "IAM.0005")
    changed = iam.KeystoneUpdateProjectOption(name="local_test", description="for tests")
    update = iam.KeystoneUpdateProjectRequest(
        made.id, iam.KeystoneUpdateProjectRequestBody(changed)
    )
    assert sdk.keystone_update_project(update).project.name == "local_test"
    shown = sdk.keystone_show_project(iam.KeystoneShowProjectRequest(made.id)).project
    assert (shown.name, shown.description, shown.is_domain) == ("local_test", "for tests", False)
    listed = sdk.keystone_list_projects(iam.KeystoneListProjectsRequest(name="local_test"))
    assert [project.id for project in listed.projects] == [made.id]
    mine = sdk.keystone_list_auth_projects(iam.KeystoneListAuthProjectsRequest()).projects
    assert made.id in [project.id for project in mine]
    missing = iam.KeystoneShowProjectRequest(UNKNOWN)
    assert refusal(sdk.keystone_show_project, missing) == (404, "IAM.0004")


def test_a_project_below_another_counts_against_its_quota(sdk: Any, acme: Tenant) -> None:
    quota = iam.ShowProjectQuotaRequest(acme.project_id)
    before = sdk.show_project_quota(quota).quotas.resources[0]
    option = iam.KeystoneCreateProjectOption(name="local_below", parent_id=acme.project_id)
    body = iam.KeystoneCreateProjectRequestBody(option)
    made = sdk.keystone_create_project(iam.KeystoneCreateProjectRequest(body)).project
    assert made.parent_id == acme.project_id
    after = sdk.show_project_quota(quota).quotas.resources[0]
    assert (after.type, after.used) == ("project", before.used + 1)
    unknown = iam.ShowProjectQuotaRequest(UNKNOWN)
    assert refusal(sdk.show_project_quota, unknown) == (404, "IAM.0004")


def test_projects_come_in_pages(sdk: Any) -> None:
    def page(number: int) -> list[str]:
        request = iam.KeystoneListProjectsRequest(page=number, per_page=1)
        return [p.id for p in sdk.keystone_list_projects(request).projects]

    every = sdk.keystone_list_projects(iam.KeystoneListProjectsRequest()).projects
    pages = [page(number) for number in range(1, len(every) + 2)]
    assert pages == [*([p.id] for p in every), []]


def test_a_user_is_made_shown_changed_and_removed(sdk: Any, acme: Tenant) -> None:
    option = iam.CreateUserOption(
        name="alice", domain_id=acme.domain_id, email="alice@acme.example", description="first"
    )
    create = iam.CreateUserRequest(iam.CreateUserRequestBody(user=option))
    made = sdk.create_user(create).user
    assert (made.name, made.enabled, made.email) == ("alice", True, "alice@acme.example")
    assert refusal(sdk.create_user, create) == (409, "IAM.0005")
    body = iam.UpdateUserRequestBody(iam.UpdateUserOption(enabled=False, description="second"))
    assert sdk.update_user(iam.UpdateUserRequest(made.id, body)).user.enabled is False
    shown = sdk.show_user(iam.ShowUserRequest(made.id)).user
    assert (shown.enabled, shown.description, shown.domain_id) == (
        False,
        "second",
        acme.domain_id,
    )
    listed = sdk.keystone_list_users(iam.KeystoneListUsersRequest(enabled=False)).users
    assert made.id in [user.id for user in listed]
    sdk.keystone_delete_user(iam.KeystoneDeleteUserRequest(made.id))
    assert refusal(sdk.show_user, iam.ShowUserRequest(made.id)) == (404, "IAM.0004")


def test_keystones_own_paths_for_users_do_the_same(sdk: Any) -> None:
    option = iam.KeystoneCreateUserOption(name="bob")
    create = iam.KeystoneCreateUserRequest(iam.KeystoneCreateUserRequestBody(user=option))
    made = sdk.keystone_create_user(create).user
    changed = iam.KeystoneUpdateUserByAdminRequestBody(iam.KeystoneUpdateUserOption(name="rob"))
    update = iam.KeystoneUpdateUserByAdminRequest(made.id, changed)
    assert sdk.keystone_update_user_by_admin(update).user.name == "rob"
    assert sdk.keystone_show_user(iam.KeystoneShowUserRequest(made.id)).user.name == "rob"
    sdk.keystone_delete_user(iam.KeystoneDeleteUserRequest(made.id))
    gone = iam.KeystoneDeleteUserRequest(made.id)
    assert refusal(sdk.keystone_delete_user, gone) == (404, "IAM.0004")


def test_a_password_is_refused_not_forgotten(sdk: Any, acme: Tenant) -> None:
    password = {"password": "Secret-123"}
    option = iam.CreateUserOption(name="carl", domain_id=acme.domain_id, **password)
    create = iam.CreateUserRequest(iam.CreateUserRequestBody(user=option))
    assert refusal(sdk.create_user, create) == (400, "IAM.0011")


def test_a_group_is_made_shown_and_removed(sdk: Any) -> None:
    group_id = new_group(sdk, "writers")
    again = iam.KeystoneCreateGroupRequestBody(iam.KeystoneCreateGroupOption(name="writers"))
    create = iam.KeystoneCreateGroupRequest(again)
    assert refusal(sdk.keystone_create_group, create) == (409, "IAM.0005")
    shown = sdk.keystone_show_group(iam.KeystoneShowGroupRequest(group_id)).group
    assert (shown.name, len(str(shown.create_time))) == ("writers", 13)
    listed = sdk.keystone_list_groups(iam.KeystoneListGroupsRequest(name="writers")).groups
    assert [group.id for group in listed] == [group_id]
    sdk.keystone_delete_group(iam.KeystoneDeleteGroupRequest(group_id))
    gone = iam.KeystoneShowGroupRequest(group_id)
    assert refusal(sdk.keystone_show_group, gone) == (404, "IAM.0004")


def test_users_join_and_leave_groups(sdk: Any, acme: Tenant) -> None:
    group_id, user_id = new_group(sdk, "readers"), new_user(sdk, acme, "dora")
    check = iam.KeystoneCheckUserInGroupRequest(group_id, user_id)
    assert refusal(sdk.keystone_check_user_in_group, check)[0] == 404
    sdk.keystone_add_user_to_group(iam.KeystoneAddUserToGroupRequest(group_id, user_id))
    sdk.keystone_check_user_in_group(check)
    request = iam.KeystoneListUsersForGroupByAdminRequest(group_id)
    members = sdk.keystone_list_users_for_group_by_admin(request).users
    assert [member.name for member in members] == ["dora"]
    groups = sdk.keystone_list_groups_for_user(iam.KeystoneListGroupsForUserRequest(user_id))
    assert [group.name for group in groups.groups] == ["readers"]
    leave = iam.KeystoneRemoveUserFromGroupRequest(group_id, user_id)
    sdk.keystone_remove_user_from_group(leave)
    assert refusal(sdk.keystone_remove_user_from_group, leave) == (404, "IAM.0004")


def test_roles_are_listed_with_what_they_allow(sdk: Any) -> None:
    roles = sdk.keystone_list_permissions(iam.KeystoneListPermissionsRequest())
    names = {role.display_name for role in roles.roles}
    assert {"Security Administrator", "KMS Administrator", "Tenant Administrator"} <= names
    assert {"EVS Administrator", "IMS Administrator"} <= names
    assert roles.total_number == len(roles.roles) == 7
    shown = sdk.keystone_show_permission(iam.KeystoneShowPermissionRequest("kms_adm")).role
    assert "kms:cmk:create" in shown.policy.statement[0].action
    unknown = iam.KeystoneShowPermissionRequest("nothing")
    assert refusal(sdk.keystone_show_permission, unknown) == (404, "IAM.0004")


def test_a_group_gets_and_loses_a_role_in_the_domain(sdk: Any, acme: Tenant) -> None:
    where = (acme.domain_id, new_group(sdk, "domain-readers"))
    check = iam.KeystoneCheckDomainPermissionForGroupRequest(*where, "readonly")
    assert refusal(sdk.keystone_check_domain_permission_for_group, check)[0] == 404
    sdk.keystone_associate_group_with_domain_permission(
        iam.KeystoneAssociateGroupWithDomainPermissionRequest(*where, "readonly")
    )
    sdk.keystone_check_domain_permission_for_group(check)
    listed = sdk.keystone_list_domain_permissions_for_group(
        iam.KeystoneListDomainPermissionsForGroupRequest(*where)
    )
    assert [role.id for role in listed.roles] == ["readonly"]
    remove = iam.KeystoneRemoveDomainPermissionFromGroupRequest(*where, "readonly")
    sdk.keystone_remove_domain_permission_from_group(remove)
    assert refusal(sdk.keystone_remove_domain_permission_from_group, remove) == (404, "IAM.0004")


def test_a_group_gets_and_loses_a_role_in_a_project(sdk: Any, acme: Tenant) -> None:
    where = (acme.project_id, new_group(sdk, "project-readers"))
    sdk.keystone_associate_group_with_project_permission(
        iam.KeystoneAssociateGroupWithProjectPermissionRequest(*where, "readonly")
    )
    sdk.keystone_check_project_permission_for_group(
        iam.KeystoneCheckProjectPermissionForGroupRequest(*where, "readonly")
    )
    listed = sdk.keystone_list_project_permissions_for_group(
        iam.KeystoneListProjectPermissionsForGroupRequest(*where)
    )
    assert [role.id for role in listed.roles] == ["readonly"]
    remove = iam.KeystoneRemoveProjectPermissionFromGroupRequest(*where, "readonly")
    sdk.keystone_remove_project_permission_from_group(remove)
    assert refusal(sdk.keystone_remove_project_permission_from_group, remove) == (404, "IAM.0004")
    unknown = iam.KeystoneAssociateGroupWithProjectPermissionRequest(*where, "king")
    call = sdk.keystone_associate_group_with_project_permission
    assert refusal(call, unknown) == (404, "IAM.0004")


def test_an_access_key_is_made_shown_stopped_and_removed(sdk: Any, ordinary: Caller) -> None:
    option = iam.CreateCredentialOption(user_id=ordinary.user_id, description="of a script")
    body = iam.CreatePermanentAccessKeyRequestBody(option)
    made = sdk.create_permanent_access_key(iam.CreatePermanentAccessKeyRequest(body)).credential
    assert (made.user_id, made.status, len(made.secret)) == (ordinary.user_id, "active", 40)
    stopped = iam.UpdatePermanentAccessKeyRequestBody(iam.UpdateCredentialOption(status="inactive"))
    update = iam.UpdatePermanentAccessKeyRequest(made.access, stopped)
    assert sdk.update_permanent_access_key(update).credential.status == "inactive"
    show = iam.ShowPermanentAccessKeyRequest(made.access)
    shown = sdk.show_permanent_access_key(show).credential
    assert (shown.status, shown.last_use_time) == ("inactive", None)
    listed = sdk.list_permanent_access_keys(
        iam.ListPermanentAccessKeysRequest(user_id=ordinary.user_id)
    )
    assert made.access in [one.access for one in listed.credentials]
    sdk.delete_permanent_access_key(iam.DeletePermanentAccessKeyRequest(made.access))
    assert refusal(sdk.show_permanent_access_key, show) == (404, "IAM.0004")


def test_an_ordinary_user_has_its_own_access_keys_and_nobody_elses(
    acme: Tenant, ordinary: Caller
) -> None:
    sdk = ordinary.sdk()
    mine = sdk.list_permanent_access_keys(iam.ListPermanentAccessKeysRequest()).credentials
    assert ordinary.pair["access"] in [one.access for one in mine]
    theirs = iam.ListPermanentAccessKeysRequest(user_id=acme.administrator.user_id)
    assert refusal(sdk.list_permanent_access_keys, theirs) == (403, "IAM.0002")
    option = iam.CreateCredentialOption(user_id=acme.administrator.user_id)
    create = iam.CreatePermanentAccessKeyRequest(iam.CreatePermanentAccessKeyRequestBody(option))
    assert refusal(sdk.create_permanent_access_key, create) == (403, "IAM.0002")
    theirs_shown = iam.ShowPermanentAccessKeyRequest(acme.administrator.pair["access"])
    assert refusal(sdk.show_permanent_access_key, theirs_shown) == (404, "IAM.0004")


def test_an_agency_is_made_shown_changed_and_removed(sdk: Any, acme: Tenant) -> None:
    made = new_agency(sdk, acme, "evs", trust_domain_name="op_svc_evs", duration="ONEDAY")
    assert (made.duration, made.trust_domain_id) == ("24", "op_svc_evs")
    option = iam.CreateAgencyOption(name="evs", domain_id=acme.domain_id)
    again = iam.CreateAgencyRequest(iam.CreateAgencyRequestBody(agency=option))
    assert refusal(sdk.create_agency, again) == (409, "IAM.0005")
    body = iam.UpdateAgencyRequestBody(
        iam.UpdateAgencyOption(duration="FOREVER", description="for volumes")
    )
    sdk.update_agency(iam.UpdateAgencyRequest(made.id, body))
    shown = sdk.show_agency(iam.ShowAgencyRequest(made.id)).agency
    assert (shown.duration, shown.expire_time, shown.description) == (
        "FOREVER",
        None,
        "for volumes",
    )
    listed = sdk.list_agencies(iam.ListAgenciesRequest(acme.domain_id, name="evs")).agencies
    assert [agency.id for agency in listed] == [made.id]
    sdk.delete_agency(iam.DeleteAgencyRequest(made.id))
    assert refusal(sdk.show_agency, iam.ShowAgencyRequest(made.id)) == (404, "IAM.0004")


def test_an_agency_gets_and_loses_a_role_in_a_project(sdk: Any, acme: Tenant) -> None:
    made = new_agency(sdk, acme, "helper", trust_domain_name="acme", duration=20)
    assert made.duration == "480"
    where = (acme.project_id, made.id)
    check = iam.CheckProjectPermissionForAgencyRequest(*where, "readonly")
    assert refusal(sdk.check_project_permission_for_agency, check)[0] == 404
    sdk.associate_agency_with_project_permission(
        iam.AssociateAgencyWithProjectPermissionRequest(*where, "readonly")
    )
    sdk.check_project_permission_for_agency(check)
    listed = sdk.list_project_permissions_for_agency(
        iam.ListProjectPermissionsForAgencyRequest(*where)
    )
    assert [role.id for role in listed.roles] == ["readonly"]
    remove = iam.RemoveProjectPermissionFromAgencyRequest(*where, "readonly")
    sdk.remove_project_permission_from_agency(remove)
    assert refusal(sdk.remove_project_permission_from_agency, remove) == (404, "IAM.0004")


@pytest.mark.parametrize("duration", ["SOON", 0.5, -1, 40000, True, [], {}])
def test_a_bad_duration_of_an_agency_is_refused(sdk: Any, acme: Tenant, duration: object) -> None:
    option = iam.CreateAgencyOption(name="bad", domain_id=acme.domain_id, duration=duration)
    request = iam.CreateAgencyRequest(iam.CreateAgencyRequestBody(agency=option))
    assert refusal(sdk.create_agency, request) == (400, "IAM.0011")


def test_an_agency_that_trusts_nobody_who_exists_is_refused(sdk: Any, acme: Tenant) -> None:
    option = iam.CreateAgencyOption(
        name="bad", domain_id=acme.domain_id, trust_domain_name="nobody"
    )
    request = iam.CreateAgencyRequest(iam.CreateAgencyRequestBody(agency=option))
    assert refusal(sdk.create_agency, request) == (404, "IAM.0004")


def test_an_ordinary_user_changes_nothing_of_identity(acme: Tenant, ordinary: Caller) -> None:
    sdk = ordinary.sdk()
    user = iam.CreateUserOption(name="eve", domain_id=acme.domain_id)
    create = iam.CreateUserRequest(iam.CreateUserRequestBody(user=user))
    assert refusal(sdk.create_user, create) == (403, "IAM.0002")
    assert refusal(sdk.keystone_list_users, iam.KeystoneListUsersRequest()) == (403, "IAM.0002")
    agency = iam.CreateAgencyOption(name="own", domain_id=acme.domain_id)
    trust = iam.CreateAgencyRequest(iam.CreateAgencyRequestBody(agency=agency))
    assert refusal(sdk.create_agency, trust) == (403, "IAM.0002")


def test_a_user_sees_itself_and_its_projects(acme: Tenant, ordinary: Caller) -> None:
    sdk = ordinary.sdk()
    assert sdk.show_user(iam.ShowUserRequest(ordinary.user_id)).user.name == "ordinary"
    mine = iam.KeystoneListProjectsForUserRequest(ordinary.user_id)
    assert acme.project_id in [p.id for p in sdk.keystone_list_projects_for_user(mine).projects]
    theirs = iam.KeystoneListProjectsForUserRequest(acme.administrator.user_id)
    assert refusal(sdk.keystone_list_projects_for_user, theirs) == (403, "IAM.0002")
