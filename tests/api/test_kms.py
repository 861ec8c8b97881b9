"""The published KMS operations, over HTTP, by the cloud's own SDK where it signs requests."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkkms.v2 import (
    CreateDatakeyRequest,
    CreateDatakeyRequestBody,
    CreateDatakeyWithoutPlaintextRequest,
    CreateKeyRequest,
    CreateKeyRequestBody,
    DecryptDatakeyRequest,
    DecryptDatakeyRequestBody,
    DisableKeyRequest,
    EnableKeyRequest,
    KmsClient,
    ListKeyDetailRequest,
    ListKeysRequest,
    ListKeysRequestBody,
    OperateKeyRequestBody,
)

from evsd.audit.chain import newest_first
from evsd.audit.verification import verify
from tests.api.conftest import MakeClient
from tests.support.daemon import Evsd, until

ON_EACH_TOKEN = True


@pytest.fixture(scope="module")
def sdk(make_client: MakeClient) -> KmsClient:
    return make_client(KmsClient)


def new_key(sdk: KmsClient, alias: str) -> str:
    made = sdk.create_key(CreateKeyRequest(CreateKeyRequestBody(key_alias=alias)))
    return str(made.key_info.key_id)


def describe(sdk: KmsClient, key_id: str) -> Any:
    request = ListKeyDetailRequest(OperateKeyRequestBody(key_id=key_id))
    return sdk.list_key_detail(request).key_info


def datakey(sdk: KmsClient, key_id: str, **fields: Any) -> Any:
    return sdk.create_datakey(
        CreateDatakeyRequest(CreateDatakeyRequestBody(key_id=key_id, **fields))
    )


def decrypt(sdk: KmsClient, key_id: str, cipher_text: str, length: int, **fields: Any) -> Any:
    body = DecryptDatakeyRequestBody(
        key_id=key_id, cipher_text=cipher_text, datakey_cipher_length=str(length), **fields
    )
    return sdk.decrypt_datakey(DecryptDatakeyRequest(body))


def refusal(call: Any, *arguments: Any, **fields: Any) -> tuple[int, str]:
    with pytest.raises(ClientRequestException) as caught:
        call(*arguments, **fields)
    return caught.value.status_code, caught.value.error_code


def test_a_created_key_is_described_as_published(sdk: KmsClient) -> None:
    key = describe(sdk, new_key(sdk, "described"))
    assert (key.key_alias, key.key_state, key.default_key_flag) == ("described", "2", "0")
    assert (key.key_spec, key.key_usage, key.origin) == ("AES_256", "ENCRYPT_DECRYPT", "kms")
    assert (key.realm, key.key_rotation_enabled, len(key.creation_date)) == ("local", "false", 13)


def test_keys_are_listed_in_pages(sdk: KmsClient) -> None:
    made = {new_key(sdk, f"page-{number}") for number in range(5)}
    found: set[str] = set()
    marker = "0"
    while marker:
        body = ListKeysRequestBody(limit="2", marker=marker, key_spec="ALL")
        page = sdk.list_keys(ListKeysRequest(body))
        assert len(page.keys) <= 2
        assert page.truncated == ("true" if page.next_marker else "false")
        found |= set(page.keys)
        marker = page.next_marker
    assert made <= found
    assert len(found) == page.total


def test_disable_and_enable_change_the_published_state(sdk: KmsClient) -> None:
    body = OperateKeyRequestBody(key_id=new_key(sdk, "switched"))
    assert sdk.disable_key(DisableKeyRequest(body)).key_info.key_state == "3"
    assert refusal(sdk.disable_key, DisableKeyRequest(body)) == (400, "KMS.1301")
    assert sdk.enable_key(EnableKeyRequest(body)).key_info.key_state == "2"
    assert refusal(sdk.enable_key, EnableKeyRequest(body)) == (400, "KMS.1201")


@pytest.mark.parametrize("aad", [None, "volume 7"])
def test_a_data_key_is_decrypted_to_what_it_was(sdk: KmsClient, aad: str | None) -> None:
    key_id = new_key(sdk, f"envelope-{bool(aad)}")
    fields = {"additional_authenticated_data": aad} if aad else {}
    made = datakey(sdk, key_id, datakey_length="512", **fields)
    assert (len(made.plain_text), len(made.cipher_text)) == (128, 376)
    opened = decrypt(sdk, key_id, made.cipher_text, 64, **fields)
    assert (opened.data_key, opened.datakey_length) == (made.plain_text, "64")
    digest = hashlib.sha256(bytes.fromhex(made.plain_text)).hexdigest().upper()
    assert opened.datakey_dgst == digest


def test_without_plaintext_means_without(sdk: KmsClient) -> None:
    key_id = new_key(sdk, "sealed")
    body = CreateDatakeyRequestBody(key_id=key_id, datakey_length="512")
    request = CreateDatakeyWithoutPlaintextRequest(body)
    answer = sdk.create_datakey_without_plaintext(request)
    assert set(json.loads(answer.raw_content)) == {"key_id", "cipher_text"}
    assert len(decrypt(sdk, key_id, answer.cipher_text, 64).data_key) == 128


@pytest.mark.parametrize(
    ("fields", "length"),
    [({}, 32), ({"key_spec": "AES_128"}, 16), ({"key_spec": "AES_128", "datakey_length": "8"}, 1)],
)
def test_the_length_of_a_data_key_is_the_published_one(
    sdk: KmsClient, fields: dict[str, str], length: int
) -> None:
    made = datakey(sdk, new_key(sdk, f"length-{length}"), **fields)
    assert len(bytes.fromhex(made.plain_text)) == length


def test_a_data_key_opens_under_its_own_key_context_and_length_only(sdk: KmsClient) -> None:
    key_id, other = new_key(sdk, "mine"), new_key(sdk, "other")
    made = datakey(sdk, key_id, additional_authenticated_data="a")
    wrong = (400, "KMS.2201")
    aad = {"additional_authenticated_data": "a"}
    assert refusal(decrypt, sdk, other, made.cipher_text, 32, **aad) == wrong
    assert refusal(decrypt, sdk, key_id, made.cipher_text, 32) == wrong
    assert refusal(decrypt, sdk, key_id, made.cipher_text, 31, **aad) == (400, "KMS.2204")


def test_a_disabled_key_neither_makes_nor_opens_data_keys(sdk: KmsClient) -> None:
    key_id = new_key(sdk, "paused")
    made = datakey(sdk, key_id)
    sdk.disable_key(DisableKeyRequest(OperateKeyRequestBody(key_id=key_id)))
    assert refusal(datakey, sdk, key_id) == (400, "KMS.0209")
    assert refusal(decrypt, sdk, key_id, made.cipher_text, 32) == (400, "KMS.0209")


def test_a_default_key_is_changed_by_nobody(sdk: KmsClient, tcp_evsd: Evsd) -> None:
    tcp_evsd.ok("create", "first", "--size", "1G")
    key = tcp_evsd.object("key", "show", "evs/default")["key_info"]
    assert key["default_key_flag"] == "1"
    body = OperateKeyRequestBody(key_id=key["key_id"])
    assert refusal(sdk.disable_key, DisableKeyRequest(body)) == (400, "KMS.0211")


def test_the_oldest_operation_context_binds_too(tcp_evsd: Evsd) -> None:
    with tcp_evsd.http() as http:
        base = f"/v1.0/{tcp_evsd.project_id()}/kms"
        key_id = tcp_evsd.object("key", "show", "test-key")["key_info"]["key_id"]
        body = {"key_id": key_id, "encryption_context": {"a": "1", "b": "2"}}
        made = http.post(f"{base}/create-datakey", json=body).json()
        body = {
            "key_id": key_id,
            "cipher_text": made["cipher_text"],
            "datakey_cipher_length": "32",
            "encryption_context": {"b": "2", "a": "1"},
        }
        opened = http.post(f"{base}/decrypt-datakey", json=body).json()
        assert opened["data_key"] == made["plain_text"]
        body["encryption_context"] = {"a": "1"}
        assert http.post(f"{base}/decrypt-datakey", json=body).status_code == 400


def test_a_false_secret_key_is_not_let_in(
    make_client: MakeClient, credential: dict[str, str]
) -> None:
    intruder = make_client(KmsClient, credential["access"], "x" * 40)
    assert refusal(intruder.list_keys, ListKeysRequest(ListKeysRequestBody())) == (
        401,
        "APIGW.0301",
    )


def test_an_access_key_that_was_deleted_is_not_let_in(
    make_client: MakeClient, tcp_evsd: Evsd
) -> None:
    pair = tcp_evsd.object("access-key", "create")["credential"]
    client = make_client(KmsClient, pair["access"], pair["secret"])
    client.list_keys(ListKeysRequest(ListKeysRequestBody()))
    tcp_evsd.ok("access-key", "delete", pair["access"], "--yes")
    assert refusal(client.list_keys, ListKeysRequest(ListKeysRequestBody()))[0] == 401


def test_an_unsigned_request_over_tcp_is_not_let_in(tcp_evsd: Evsd) -> None:
    answer = httpx.get(f"{tcp_evsd.url()}/v3/projects", timeout=60)
    assert (answer.status_code, answer.json()["error_code"]) == (401, "APIGW.0301")


def test_every_use_allowed_or_refused_is_in_the_audit_log(sdk: KmsClient, tcp_evsd: Evsd) -> None:
    key_id = new_key(sdk, "audited")
    made = datakey(sdk, key_id, additional_authenticated_data="ctx")
    refusal(decrypt, sdk, key_id, made.cipher_text, 32)
    sdk.disable_key(DisableKeyRequest(OperateKeyRequestBody(key_id=key_id)))
    log: Path = tcp_evsd.state / "audit.log"
    records = [r for r in newest_first(log) if r["key_id"] == key_id][::-1]
    assert [(r["action"], r["result"]) for r in records] == [
        ("create-key", "ok"),
        ("create-datakey", "ok"),
        ("decrypt-datakey", "KMS.2201"),
        ("disable-key", "ok"),
    ]
    assert records[1]["context"] == "ctx"
    assert all(r["principal"] == "root" and r["source"] == "127.0.0.1" for r in records)
    assert all(len(r["request_id"]) == 32 for r in records)
    assert verify(log).findings == []


def test_the_key_process_is_replaced_when_it_dies(sdk: KmsClient, tcp_evsd: Evsd) -> None:
    key_id = new_key(sdk, "survivor")
    made = datakey(sdk, key_id)
    before = tcp_evsd.keys_pid
    os.kill(before, signal.SIGKILL)
    until(lambda: tcp_evsd.ctl("key", "list").status == 0)  # one request may be lost
    assert decrypt(sdk, key_id, made.cipher_text, 32).data_key == made.plain_text
    assert tcp_evsd.keys_pid != before


def test_a_caller_can_not_choose_the_source_in_its_records(sdk: KmsClient, tcp_evsd: Evsd) -> None:
    key_id = new_key(sdk, "sourced")
    request = CreateDatakeyRequest(CreateDatakeyRequestBody(key_id=key_id))
    sdk.create_datakey_invoker(request).add_header("X-Forwarded-For", "203.0.113.66").invoke()
    record = next(r for r in newest_first(tcp_evsd.state / "audit.log") if r["key_id"] == key_id)
    assert (record["action"], record["source"]) == ("create-datakey", "127.0.0.1")
