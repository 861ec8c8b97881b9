"""Data keys, data and random bytes, by the cloud's own SDK."""

from __future__ import annotations

import base64
import hashlib
import os

import pytest
from huaweicloudsdkkms.v2 import KmsClient

from tests.api.conftest import MakeClient
from tests.support.kms import Kms

ON_EACH_TOKEN = True


@pytest.fixture(scope="module")
def kms(make_client: MakeClient) -> Kms:
    return Kms(make_client(KmsClient))


@pytest.fixture(scope="module")
def key_id(kms: Kms) -> str:
    return kms.new_key("data")


def plain(data_key: bytes) -> str:
    return (data_key + hashlib.sha256(data_key).digest()).hex().upper()


@pytest.mark.parametrize("length", [1, 16, 32, 64, 1024])
def test_a_data_key_of_ones_own_comes_back(kms: Kms, key_id: str, length: int) -> None:
    data_key = os.urandom(length)
    made = kms(
        "encrypt_datakey",
        key_id=key_id,
        plain_text=plain(data_key),
        datakey_plain_length=str(length),
    )
    assert (made.key_id, made.datakey_length) == (key_id, str(length))
    opened = kms(
        "decrypt_datakey",
        key_id=key_id,
        cipher_text=made.cipher_text,
        datakey_cipher_length=str(length),
    )
    assert bytes.fromhex(opened.data_key) == data_key
    assert bytes.fromhex(opened.datakey_dgst) == hashlib.sha256(data_key).digest()


@pytest.mark.parametrize(
    ("text", "length", "code"),
    [
        (plain(bytes(32))[:-2] + "00", "32", "KMS.2103"),
        (plain(bytes(32)), "31", "KMS.2104"),
        (plain(bytes(32))[:-2], "32", "KMS.2104"),
        ("zz" * 64, "32", "KMS.2101"),
        (plain(bytes(32)), "0", "KMS.2102"),
        (plain(bytes(32)), "1025", "KMS.2102"),
    ],
)
def test_a_data_key_must_come_with_its_digest_and_length(
    kms: Kms, key_id: str, text: str, length: str, code: str
) -> None:
    fields = {"plain_text": text, "datakey_plain_length": length}
    assert kms.refusal("encrypt_datakey", key_id=key_id, **fields) == (400, code)


@pytest.mark.parametrize("text", ["x", "8 bytes!", "ä" * 2048, "\x00\n", "a" * 4096])
def test_data_comes_back_without_naming_its_key(kms: Kms, key_id: str, text: str) -> None:
    made = kms("encrypt_data", key_id=key_id, plain_text=text)
    assert 128 <= len(made.cipher_text) <= 5648
    opened = kms("decrypt_data", cipher_text=made.cipher_text)
    assert (opened.key_id, opened.plain_text) == (key_id, text)
    assert base64.b64decode(opened.plain_text_base64) == text.encode()


@pytest.mark.parametrize("text", ["", "a" * 4097, "ä" * 2049])
def test_data_has_1_to_4096_bytes(kms: Kms, key_id: str, text: str) -> None:
    assert kms.refusal("encrypt_data", key_id=key_id, plain_text=text) == (400, "KMS.2101")


def test_data_opens_under_its_own_key_and_context_only(kms: Kms, key_id: str) -> None:
    other = kms.new_key("other-data")
    aad = {"additional_authenticated_data": "a"}
    made = kms("encrypt_data", key_id=key_id, plain_text="secret", **aad)
    wrong = (400, "KMS.2201")
    cipher = made.cipher_text
    assert kms.refusal("decrypt_data", cipher_text=cipher) == wrong
    assert kms.refusal("decrypt_data", cipher_text=cipher, key_id=other, **aad) == wrong
    assert kms("decrypt_data", cipher_text=cipher, key_id=key_id, **aad).plain_text == "secret"


def test_data_is_never_taken_for_a_data_key_nor_the_other_way(kms: Kms, key_id: str) -> None:
    data = kms("encrypt_data", key_id=key_id, plain_text="x" * 32)
    cipher = base64.b64decode(data.cipher_text).hex()
    fields = {"key_id": key_id, "cipher_text": cipher, "datakey_cipher_length": "32"}
    assert kms.refusal("decrypt_datakey", **fields) == (400, "KMS.2201")
    sealed = kms("create_datakey", key_id=key_id).cipher_text
    cipher = base64.b64encode(bytes.fromhex(sealed)).decode()
    assert kms.refusal("decrypt_data", cipher_text=cipher) == (400, "KMS.2201")


def test_no_truncated_or_altered_data_is_decrypted(kms: Kms, key_id: str) -> None:
    cipher = base64.b64decode(kms("encrypt_data", key_id=key_id, plain_text="x" * 8).cipher_text)
    for length in range(96, len(cipher), 9):
        cut = base64.b64encode(cipher[:length]).decode()
        assert kms.refusal("decrypt_data", cipher_text=cut)[1] == "KMS.2201"
    for position in range(0, len(cipher), 7):
        flipped = bytearray(cipher)
        flipped[position] ^= 1 << position % 8
        status, code = kms.refusal("decrypt_data", cipher_text=base64.b64encode(flipped).decode())
        assert (status, code) == (400, "KMS.2201")


def test_a_use_may_name_its_key_by_alias(kms: Kms, key_id: str) -> None:
    made = kms("create_datakey", key_id="alias/data")
    assert made.key_id == key_id
    assert kms.refusal("create_datakey", key_id="alias/nobody") == (404, "KMS.0207")


@pytest.mark.parametrize(("bits", "digits"), [("8", 2), ("512", 128), ("8192", 2048)])
def test_random_bytes_have_the_wanted_length(kms: Kms, bits: str, digits: int) -> None:
    first, second = (kms("create_random", random_data_length=bits).random_data for _ in range(2))
    assert len(first) == len(second) == digits
    assert bits == "8" or first != second


@pytest.mark.parametrize("bits", ["0", "7", "9", "8200", "x", "-8"])
def test_a_random_length_is_a_multiple_of_8_up_to_8192(kms: Kms, bits: str) -> None:
    assert kms.refusal("create_random", random_data_length=bits) == (400, "KMS.1801")


def test_everything_a_disabled_key_can_do_is_refused(kms: Kms) -> None:
    key_id = kms.new_key("off")
    datakey = kms("create_datakey", key_id=key_id)
    data = kms("encrypt_data", key_id=key_id, plain_text="x")
    kms("disable_key", key_id=key_id)
    disabled = (400, "KMS.0209")
    assert kms.refusal("create_datakey", key_id=key_id) == disabled
    assert kms.refusal("create_datakey_without_plaintext", key_id=key_id) == disabled
    own = {"plain_text": plain(bytes(32)), "datakey_plain_length": "32"}
    assert kms.refusal("encrypt_datakey", key_id=key_id, **own) == disabled
    sealed = {"cipher_text": datakey.cipher_text, "datakey_cipher_length": "32"}
    assert kms.refusal("decrypt_datakey", key_id=key_id, **sealed) == disabled
    assert kms.refusal("encrypt_data", key_id=key_id, plain_text="x") == disabled
    assert kms.refusal("decrypt_data", cipher_text=data.cipher_text) == disabled
