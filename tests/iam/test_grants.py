"""Grants on keys, over HTTP, between users and tenants."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkkms.v2 import KmsClient

from tests.support.identity import Caller, Tenant
from tests.support.kms import Kms

NUMBERS = itertools.count()
MISSING = (404, "KMS.0207")
FORBIDDEN = (403, "KMS.0330")


def kms(caller: Caller) -> Kms:
    """The cloud's own SDK, signed in as this user."""
    credentials = BasicCredentials(caller.pair["access"], caller.pair["secret"], caller.project_id)
    builder = KmsClient.new_builder().with_credentials(credentials)
    return Kms(builder.with_endpoint(caller.url).build())


@pytest.fixture(scope="module")
def owner(acme: Tenant) -> Kms:
    """The administrator of keys of acme."""
    return kms(acme.user("keeper", "kms_adm"))


@pytest.fixture(scope="module")
def guest(acme: Tenant) -> Caller:
    """A user of acme whom no role allows the use of keys."""
    return acme.user("guest", "readonly")


@pytest.fixture(scope="module")
def stranger(globex: Tenant) -> Caller:
    """A user of another tenant who may do everything with keys there."""
    return globex.user("stranger", "kms_adm")


@pytest.fixture
def key_id(owner: Kms) -> Iterator[str]:
    made = owner.new_key(f"lent-{next(NUMBERS)}")
    yield made
    if owner.state(made) in "23":
        owner("delete_key", key_id=made, pending_days="7")


def grant(owner: Kms, key_id: str, to: str, *operations: str, **fields: Any) -> str:
    made = owner(
        "create_grant",
        key_id=key_id,
        grantee_principal=to,
        operations=list(operations),
        **fields,
    )
    return str(made.grant_id)


def test_a_grant_allows_what_no_role_does_and_nothing_else(
    owner: Kms, guest: Caller, key_id: str
) -> None:
    sdk = kms(guest)
    assert sdk.refusal("create_datakey", key_id=key_id) == FORBIDDEN
    grant(owner, key_id, guest.user_id, "create-datakey")
    made = sdk("create_datakey", key_id=key_id)
    opening = {"cipher_text": made.cipher_text, "datakey_cipher_length": "32"}
    assert sdk.refusal("decrypt_datakey", key_id=key_id, **opening) == FORBIDDEN
    assert owner("decrypt_datakey", key_id=key_id, **opening).data_key == made.plain_text


def test_grants_add_up(owner: Kms, guest: Caller, key_id: str) -> None:
    grant(owner, key_id, guest.user_id, "encrypt-data")
    grant(owner, key_id, guest.user_id, "decrypt-data")
    sdk = kms(guest)
    cipher = sdk("encrypt_data", key_id=key_id, plain_text="shared").cipher_text
    assert sdk("decrypt_data", cipher_text=cipher).plain_text == "shared"


def test_a_grant_is_for_one_key_and_one_grantee(
    owner: Kms, acme: Tenant, guest: Caller, key_id: str
) -> None:
    other_key = owner.new_key(f"other-{next(NUMBERS)}")
    grant(owner, key_id, guest.user_id, "encrypt-data")
    refused = kms(guest).refusal("encrypt_data", key_id=other_key, plain_text="x")
    assert refused == FORBIDDEN
    bystander = kms(acme.user(f"bystander-{next(NUMBERS)}", "readonly"))
    assert bystander.refusal("encrypt_data", key_id=key_id, plain_text="x") == FORBIDDEN


def test_a_key_of_another_tenant_looks_missing_until_it_is_granted(
    owner: Kms, stranger: Caller, key_id: str
) -> None:
    sdk = kms(stranger)
    never = "00000000-0000-4000-8000-000000000000"
    for wanted in (key_id, never):
        assert sdk.refusal("list_key_detail", key_id=wanted) == MISSING
        assert sdk.refusal("encrypt_data", key_id=wanted, plain_text="x") == MISSING
    grant(owner, key_id, stranger.user_id, "encrypt-data", "describe-key")
    cipher = sdk("encrypt_data", key_id=key_id, plain_text="hello").cipher_text
    assert sdk.details(key_id).key_id == key_id
    assert sdk.refusal("decrypt_data", cipher_text=cipher) == MISSING
    assert sdk.refusal("disable_key", key_id=key_id) == MISSING
    assert owner("decrypt_data", cipher_text=cipher).plain_text == "hello"


def test_a_grant_to_a_domain_is_for_all_its_users(
    owner: Kms, globex: Tenant, stranger: Caller, key_id: str
) -> None:
    grant(owner, key_id, globex.domain_id, "encrypt-data", grantee_principal_type="domain")
    for user in (stranger, globex.administrator, globex.user(f"any-{next(NUMBERS)}", "readonly")):
        kms(user)("encrypt_data", key_id=key_id, plain_text="x")


def test_a_revoked_grant_allows_nothing_any_more(owner: Kms, stranger: Caller, key_id: str) -> None:
    granted = grant(owner, key_id, stranger.user_id, "encrypt-data")
    sdk = kms(stranger)
    sdk("encrypt_data", key_id=key_id, plain_text="x")
    assert sdk.refusal("cancel_grant", key_id=key_id, grant_id=granted) == MISSING
    assert owner("cancel_grant", key_id=key_id, grant_id=granted).raw_content == b"{}"
    assert sdk.refusal("encrypt_data", key_id=key_id, plain_text="x") == MISSING
    assert owner.refusal("cancel_grant", key_id=key_id, grant_id=granted) == (400, "KMS.2502")


def test_a_grant_is_retired_by_those_it_names_only(
    owner: Kms, acme: Tenant, stranger: Caller, guest: Caller, key_id: str
) -> None:
    plain = grant(owner, key_id, stranger.user_id, "encrypt-data")
    assert kms(stranger).refusal("cancel_self_grant", key_id=key_id, grant_id=plain) == MISSING
    other = kms(acme.user(f"other-{next(NUMBERS)}", "user"))
    assert other.refusal("cancel_self_grant", key_id=key_id, grant_id=plain) == (400, "KMS.2502")
    own = grant(owner, key_id, stranger.user_id, "encrypt-data", "retire-grant")
    assert kms(stranger)("cancel_self_grant", key_id=key_id, grant_id=own).raw_content == b"{}"
    named = grant(owner, key_id, stranger.user_id, "encrypt-data", retiring_principal=guest.user_id)
    listed = kms(guest)("list_retirable_grants")
    assert named in [found.grant_id for found in listed.grants]
    kms(guest)("cancel_self_grant", key_id=key_id, grant_id=named)
    owner("cancel_self_grant", key_id=key_id, grant_id=plain)  # the issuer
    assert owner("list_grants", key_id=key_id).total == 0


def test_who_may_grant_by_a_grant_passes_on_only_what_he_has(
    owner: Kms, acme: Tenant, guest: Caller, key_id: str
) -> None:
    grant(owner, key_id, guest.user_id, "create-grant", "encrypt-data")
    third = acme.user(f"third-{next(NUMBERS)}", "readonly")
    grant(kms(guest), key_id, third.user_id, "encrypt-data")
    kms(third)("encrypt_data", key_id=key_id, plain_text="x")
    more = {"grantee_principal": third.user_id, "operations": ["encrypt-data", "decrypt-data"]}
    assert kms(guest).refusal("create_grant", key_id=key_id, **more) == FORBIDDEN
    assert kms(third).refusal("create_grant", key_id=key_id, **more) == FORBIDDEN


def test_grants_are_listed_as_published(owner: Kms, guest: Caller, key_id: str) -> None:
    made = grant(owner, key_id, guest.user_id, "encrypt-data", name="n")
    grant(owner, key_id, guest.user_id, "decrypt-data")
    page = owner("list_grants", key_id=key_id, limit="1")
    assert (page.total, page.truncated, page.next_marker) == (2, "true", "1")
    rest = owner("list_grants", key_id=key_id, limit="1", marker=page.next_marker)
    assert (rest.truncated, rest.next_marker) == ("false", "")
    found = next(g for g in page.grants + rest.grants if g.grant_id == made)
    assert (found.key_id, found.name, found.operations) == (key_id, "n", ["encrypt-data"])
    assert (found.grantee_principal, found.grantee_principal_type) == (guest.user_id, "user")
    assert (len(found.grant_id), len(found.creation_date)) == (64, 13)
    assert found.issuing_principal


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"operations": ["create-grant"]}, "KMS.2401"),
        ({"operations": []}, "KMS.2403"),
        ({"operations": ["fly"]}, "KMS.2403"),
        ({"grantee_principal": "no such user!"}, "KMS.2402"),
        ({"grantee_principal": "f" * 32}, "KMS.2402"),
        ({"grantee_principal_type": "domain", "grantee_principal": "f" * 32}, "KMS.2402"),
        ({"retiring_principal": "a-b"}, "KMS.2402"),
    ],
)
def test_a_bad_grant_has_its_published_code(
    owner: Kms, guest: Caller, key_id: str, fields: dict[str, Any], code: str
) -> None:
    body = {"grantee_principal": guest.user_id, "operations": ["encrypt-data"], **fields}
    assert owner.refusal("create_grant", key_id=key_id, **body) == (400, code)


def test_a_key_has_at_most_a_hundred_grants(owner: Kms, guest: Caller, key_id: str) -> None:
    for _ in range(100):
        grant(owner, key_id, guest.user_id, "describe-key")
    body = {"grantee_principal": guest.user_id, "operations": ["describe-key"]}
    assert owner.refusal("create_grant", key_id=key_id, **body) == (400, "KMS.2404")


def test_an_unusable_key_is_not_granted_and_a_grant_on_it_is_worth_nothing(
    owner: Kms, stranger: Caller, key_id: str
) -> None:
    grant(owner, key_id, stranger.user_id, "encrypt-data")
    owner("disable_key", key_id=key_id)
    refused = kms(stranger).refusal("encrypt_data", key_id=key_id, plain_text="x")
    assert refused == (400, "KMS.0209")
    body = {"grantee_principal": stranger.user_id, "operations": ["encrypt-data"]}
    assert owner.refusal("create_grant", key_id=key_id, **body) == (400, "KMS.0209")


def test_volumes_are_made_under_keys_of_their_own_project_only(
    owner: Kms, stranger: Caller, globex: Tenant, key_id: str
) -> None:
    grant(owner, key_id, stranger.user_id, "create-datakey-without-plaintext", "decrypt-datakey")
    volume = {
        "name": "greedy",
        "size": 1,
        "availability_zone": "local",
        "volume_type": "SSD",
        "metadata": {"__system__encrypted": "1", "__system__cmkid": key_id},
    }
    path = f"/v2.1/{globex.project_id}/cloudvolumes"
    status, code = globex.administrator.refused("POST", path, {"volume": volume})
    assert (status, code[:4]) == (400, "EVS.")


def test_the_owner_sees_in_the_audit_log_what_grantees_do_with_a_key(
    owner: Kms, acme: Tenant, stranger: Caller, key_id: str
) -> None:
    grant(owner, key_id, stranger.user_id, "encrypt-data")
    kms(stranger)("encrypt_data", key_id=key_id, plain_text="x")
    found = acme.administrator.ask("GET", f"/v1/audit/records?key_id={key_id}")["records"]
    uses = [record for record in found if record["action"] == "encrypt-data"]
    assert [use["domain_id"] for use in uses] == [stranger.domain_id]
    assert all(record["key_domain_id"] in ("", acme.domain_id) for record in found)
