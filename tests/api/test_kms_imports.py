"""Import of key material, by the cloud's own SDK; the material is encrypted by `cryptography`."""

from __future__ import annotations

import base64
import hmac
import os
import time

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from huaweicloudsdkkms.v2 import KmsClient

from tests.api.conftest import MakeClient
from tests.support.daemon import Evsd, until
from tests.support.kms import Kms
from tests.support.tokens import ForeignToken, key_count

ON_EACH_TOKEN = True

SHA256 = "RSAES_OAEP_SHA_256"


@pytest.fixture(scope="module")
def kms(make_client: MakeClient) -> Kms:
    return Kms(make_client(KmsClient))


def encrypted(public_key: str, material: bytes, digest: hashes.HashAlgorithm) -> str:
    public = serialization.load_der_public_key(base64.b64decode(public_key))
    assert isinstance(public, rsa.RSAPublicKey)
    assert public.key_size == 2048
    oaep = padding.OAEP(padding.MGF1(digest), digest, None)
    return base64.b64encode(public.encrypt(material, oaep)).decode()


def prepared(
    kms: Kms, key_id: str, material: bytes, algorithm: str = SHA256
) -> dict[str, str]:  # fmt: skip
    """The fields of an import of `material`."""
    ready = kms("create_parameters_for_import", key_id=key_id, wrapping_algorithm=algorithm)
    assert (ready.key_id, 200 <= len(ready.import_token) <= 6144) == (key_id, True)
    assert abs(ready.expiration_time - time.time() - 86400) < 60
    digest = hashes.SHA256() if algorithm == SHA256 else hashes.SHA1()  # noqa: S303
    return {
        "import_token": ready.import_token,
        "encrypted_key_material": encrypted(ready.public_key, material, digest),
    }


def imported(kms: Kms, alias: str, material: bytes) -> str:
    key_id = kms.new_key(alias, origin="external")
    kms("import_key_material", key_id=key_id, **prepared(kms, key_id, material))
    return key_id


def test_an_external_key_waits_for_its_material_and_then_works(kms: Kms) -> None:
    key_id = kms.new_key("external", origin="external")
    assert (kms.state(key_id), kms.details(key_id).origin) == ("5", "external")
    assert kms.refusal("create_datakey", key_id=key_id) == (400, "KMS.0209")
    answer = kms("import_key_material", key_id=key_id, **prepared(kms, key_id, os.urandom(32)))
    assert answer.raw_content == b"{}"
    assert kms.state(key_id) == "2"
    kms("create_datakey", key_id=key_id)


@pytest.mark.parametrize("algorithm", [SHA256, "RSAES_OAEP_SHA_1"])
def test_the_imported_material_is_what_encrypts(kms: Kms, algorithm: str) -> None:
    material = os.urandom(32)
    key_id = kms.new_key(f"known-{algorithm}", origin="external")
    kms("import_key_material", key_id=key_id, **prepared(kms, key_id, material, algorithm))
    made = kms("create_datakey", key_id=key_id, datakey_length="512")
    blob = bytes.fromhex(made.cipher_text)
    # As evsd.key_process.envelope draws it, with the canonical spelling of an empty context.
    digest = hashes.Hash(hashes.SHA256())
    digest.update(b"map:{}")
    bound = blob[:4] + blob[116:156] + digest.finalize()
    opened = open_cbc_hmac if blob[0] == 3 else open_gcm
    assert opened(material, bound, blob[4:116]) == bytes.fromhex(made.plain_text)


def open_gcm(material: bytes, bound: bytes, sealed: bytes) -> bytes:
    return AESGCM(material).decrypt(sealed[:12], sealed[12:92], bound)


def open_cbc_hmac(material: bytes, bound: bytes, sealed: bytes) -> bytes:
    cipher, mac = (
        HKDF(hashes.SHA256(), 32, None, f"evsd imported material: {use}".encode()).derive(material)
        for use in ("encryption", "authentication")
    )
    assert hmac.digest(mac, bound + sealed[:80], "sha256") == sealed[80:]
    decryptor = Cipher(algorithms.AES(cipher), modes.CBC(sealed[:16])).decryptor()
    return decryptor.update(sealed[16:80])


def test_deleted_material_can_be_imported_again_and_only_the_same(kms: Kms) -> None:
    material = os.urandom(32)
    key_id = imported(kms, "again", material)
    made = kms("create_datakey", key_id=key_id)
    assert kms("delete_imported_key_material", key_id=key_id).raw_content == b"{}"
    assert kms.state(key_id) == "5"
    opening = {"cipher_text": made.cipher_text, "datakey_cipher_length": "32"}
    assert kms.refusal("decrypt_datakey", key_id=key_id, **opening) == (400, "KMS.0209")
    other = prepared(kms, key_id, os.urandom(32))
    assert kms.refusal("import_key_material", key_id=key_id, **other) == (400, "KMS.2606")
    kms("import_key_material", key_id=key_id, **prepared(kms, key_id, material))
    assert kms("decrypt_datakey", key_id=key_id, **opening).data_key == made.plain_text


def test_an_import_token_is_good_for_one_import(kms: Kms) -> None:
    key_id = kms.new_key("replay", origin="external")
    material = os.urandom(32)
    fields = prepared(kms, key_id, material)
    kms("import_key_material", key_id=key_id, **fields)
    assert kms.refusal("import_key_material", key_id=key_id, **fields) == (400, "KMS.0310")
    kms("delete_imported_key_material", key_id=key_id)
    assert kms.refusal("import_key_material", key_id=key_id, **fields) == (400, "KMS.2605")


def test_newer_parameters_replace_older_ones(kms: Kms) -> None:
    key_id = kms.new_key("replaced", origin="external")
    old = prepared(kms, key_id, os.urandom(32))
    new = prepared(kms, key_id, os.urandom(32))
    assert kms.refusal("import_key_material", key_id=key_id, **old) == (400, "KMS.2605")
    kms("import_key_material", key_id=key_id, **new)


def test_another_keys_token_and_an_altered_one_are_refused(kms: Kms) -> None:
    key_id = kms.new_key("first-import", origin="external")
    other = kms.new_key("second-import", origin="external")
    fields = prepared(kms, other, os.urandom(32))
    prepared(kms, key_id, os.urandom(32))
    assert kms.refusal("import_key_material", key_id=key_id, **fields) == (400, "KMS.2603")
    token = bytearray(base64.b64decode(fields["import_token"]))
    token[100] ^= 1
    fields["import_token"] = base64.b64encode(token).decode()
    assert kms.refusal("import_key_material", key_id=other, **fields) == (400, "KMS.2605")


@pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
def test_material_has_32_bytes(kms: Kms, length: int) -> None:
    key_id = kms.new_key(f"short-{length}", origin="external")
    fields = prepared(kms, key_id, os.urandom(length))
    assert kms.refusal("import_key_material", key_id=key_id, **fields) == (400, "KMS.2604")
    assert kms.state(key_id) == "5"


def test_material_under_another_public_key_is_refused(kms: Kms) -> None:
    key_id = kms.new_key("mixed", origin="external")
    old, new = (prepared(kms, key_id, os.urandom(32)) for _ in range(2))
    new["encrypted_key_material"] = old["encrypted_key_material"]
    assert kms.refusal("import_key_material", key_id=key_id, **new) == (400, "KMS.0311")


def test_a_key_of_the_kms_takes_no_material(kms: Kms) -> None:
    key_id = kms.new_key("own")
    wanted = {"key_id": key_id, "wrapping_algorithm": SHA256}
    assert kms.refusal("create_parameters_for_import", **wanted) == (400, "KMS.0309")
    assert kms.refusal("delete_imported_key_material", key_id=key_id) == (400, "KMS.0309")


def test_material_that_is_not_there_can_not_be_deleted(kms: Kms) -> None:
    key_id = kms.new_key("empty", origin="external")
    assert kms.refusal("delete_imported_key_material", key_id=key_id) == (400, "KMS.2701")


def test_an_external_key_is_not_rotated(kms: Kms) -> None:
    key_id = imported(kms, "fixed", os.urandom(32))
    for operation in ("enable_key_rotation", "rotate_on_demand"):
        assert kms.refusal(operation, key_id=key_id) == (400, "KMS.0312")


def test_an_expiration_lies_in_the_future(kms: Kms) -> None:
    key_id = kms.new_key("past", origin="external")
    fields = prepared(kms, key_id, os.urandom(32))
    past = int(time.time()) - 1
    refused = kms.refusal("import_key_material", key_id=key_id, expiration_time=past, **fields)
    assert refused == (400, "KMS.2602")
    soon = int(time.time()) + 86400
    kms("import_key_material", key_id=key_id, expiration_time=soon, **fields)
    assert kms.details(key_id).expiration_time == str(soon * 1000)


def test_a_cancelled_deletion_of_a_key_without_material_waits_for_it_again(kms: Kms) -> None:
    key_id = kms.new_key("twice", origin="external")
    kms("delete_key", key_id=key_id, pending_days="7")
    assert kms("cancel_key_deletion", key_id=key_id).key_state == "5"


@pytest.mark.on_each_token
def test_material_that_has_expired_is_gone_from_the_token(
    evsd: Evsd, token: ForeignToken | None
) -> None:
    material = evsd.state.with_suffix(".material")
    material.write_bytes(os.urandom(32))
    try:
        evsd.ok("key", "import", "brought", str(material), "--expires", "2100-01-01")
        assert evsd.object("key", "show", "brought")["key_info"]["expiration_time"]
        sealed = evsd.object("key", "create-datakey", "brought")
        keys = key_count(evsd, token)
        evsd.restarted_with(
            "UPDATE key_versions SET expires_at = '2026-01-01 00:00:00.000000'",
            "UPDATE clock SET steady_since = datetime('now', '-2 days')",
        )
        until(lambda: key_count(evsd, token) == keys - 1)
        assert evsd.object("key", "show", "brought")["key_info"]["key_state"] == "5"
        evsd.ok("key", "import", "brought", str(material))
        opened = evsd.object("key", "decrypt-datakey", "brought", sealed["cipher_text"])
        assert opened["data_key"] == sealed["plain_text"]
    finally:
        material.unlink()
