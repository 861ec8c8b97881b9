"""Every field of every KMS operation: missing, null, of a wrong type, too long, strange, huge."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.daemon import Evsd

KEY = "<key>"
DATA_KEY = bytes(32)

# A body that is well-formed for each operation; KEY stands for a real key's id.
BODIES: dict[str, dict[str, Any]] = {
    "create-key": {
        "key_alias": "fields",
        "key_description": "text",
        "key_spec": "AES_256",
        "key_usage": "ENCRYPT_DECRYPT",
        "origin": "kms",
    },
    "list-keys": {"limit": "10", "marker": "0", "key_state": "2", "key_spec": "ALL"},
    "describe-key": {"key_id": KEY},
    "enable-key": {"key_id": KEY},
    "disable-key": {"key_id": KEY},
    "schedule-key-deletion": {"key_id": KEY, "pending_days": "7"},
    "cancel-key-deletion": {"key_id": KEY},
    "update-key-alias": {"key_id": KEY, "key_alias": "renamed"},
    "update-key-description": {"key_id": KEY, "key_description": "text"},
    "create-datakey": {
        "key_id": KEY,
        "datakey_length": "256",
        "additional_authenticated_data": "text",
    },
    "create-datakey-without-plaintext": {"key_id": KEY, "encryption_context": {"a": "1"}},
    "encrypt-datakey": {
        "key_id": KEY,
        "plain_text": (DATA_KEY + hashlib.sha256(DATA_KEY).digest()).hex(),
        "datakey_plain_length": "32",
    },
    "decrypt-datakey": {
        "key_id": KEY,
        "cipher_text": "00" * 156,
        "datakey_cipher_length": "32",
    },
    "encrypt-data": {"key_id": KEY, "plain_text": "text"},
    "decrypt-data": {"cipher_text": base64.b64encode(bytes(200)).decode()},
    "gen-random": {"random_data_length": "512"},
    "create-grant": {
        "key_id": KEY,
        "grantee_principal": "somebody",
        "operations": ["describe-key"],
        "name": "name",
        "retiring_principal": "somebody",
        "grantee_principal_type": "user",
    },
    "list-grants": {"key_id": KEY, "limit": "10", "marker": "0"},
    "list-retirable-grants": {"limit": "10", "marker": "0"},
    "revoke-grant": {"key_id": KEY, "grant_id": "0" * 64},
    "retire-grant": {"key_id": KEY, "grant_id": "0" * 64},
    "get-parameters-for-import": {"key_id": KEY, "wrapping_algorithm": "RSAES_OAEP_SHA_256"},
    "import-key-material": {
        "key_id": KEY,
        "import_token": "A" * 400,
        "encrypted_key_material": "A" * 344,
        "expiration_time": 4102444800,
    },
    "delete-imported-key-material": {"key_id": KEY},
    "enable-key-rotation": {"key_id": KEY},
    "disable-key-rotation": {"key_id": KEY},
    "update-key-rotation-interval": {"key_id": KEY, "rotation_interval": 90},
    "get-key-rotation-status": {"key_id": KEY},
    "rotate-on-demand": {"key_id": KEY},
    f"{KEY}/tags": {"tag": {"key": "k", "value": "v"}},
    f"{KEY}/tags/action": {"action": "create", "tags": [{"key": "k", "value": "v"}]},
    "resource_instances/action": {
        "action": "filter",
        "limit": "10",
        "offset": "0",
        "tags": [{"key": "k", "values": ["v"]}],
        "matches": [{"key": "resource_name", "value": "x"}],
    },
}
# May be left out, as published; of the others each is missed by name.
OPTIONAL = {
    "create-key": {"key_description", "key_spec", "key_usage", "origin"},
    "list-keys": {"limit", "marker", "key_state", "key_spec"},
    "create-datakey": {"datakey_length", "additional_authenticated_data"},
    "create-datakey-without-plaintext": {"encryption_context"},
    "gen-random": {"random_data_length"},
    "create-grant": {"name", "retiring_principal", "grantee_principal_type"},
    "list-grants": {"limit", "marker"},
    "list-retirable-grants": {"limit", "marker"},
    "import-key-material": {"expiration_time"},
    "resource_instances/action": {"limit", "offset", "tags", "matches"},
}
# No field of any operation takes one of these.
WRONG: list[Any] = [
    True,
    -1,
    1.5,
    10**40,
    [],
    [None],
    ["\x00"],
    {"\x00": 1},
    "\x00",
    "\u202e",
    "-1",
    "9" * 40,
    "x" * 20_000,
    "🔑" * 5000,
]
# ... but these do take some of them.
FREE_TEXT = {"key_description", "plain_text", "additional_authenticated_data", "encryption_context"}
LISTS = {"tags", "matches"}
# The published patterns of names.
NAMES = {
    "key_alias": r"[a-zA-Z0-9:/_-]{1,255}",
    "name": r"[a-zA-Z0-9:/_-]{1,255}",
    "grantee_principal": r"[a-zA-Z0-9]{1,64}",
    "retiring_principal": r"[a-zA-Z0-9]{1,64}",
}
OF_A_PATH = [(path, name) for path, body in BODIES.items() for name in body]


class Client:
    """Raw requests about one key."""

    def __init__(self, evsd: Evsd) -> None:
        self.http = evsd.http()
        self.base = f"/v1.0/{evsd.project_id()}/kms"
        self.key_id = str(
            self.post("create-key", {"key_alias": "bad-fields"}).json()["key_info"]["key_id"]
        )

    def post(self, path: str, body: object) -> httpx.Response:
        return self.http.post(f"{self.base}/{path}", json=body)

    def send(self, path: str, body: dict[str, Any]) -> httpx.Response:
        filled = {name: self.key_id if value == KEY else value for name, value in body.items()}
        return self.post(path.replace(KEY, self.key_id), filled)

    def details(self) -> Any:
        return self.post("describe-key", {"key_id": self.key_id}).json()["key_info"]


@pytest.fixture(scope="module")
def client(shared_evsd: Evsd) -> Iterator[Client]:
    client = Client(shared_evsd)
    yield client
    client.http.close()


def refusal(response: httpx.Response) -> str:
    assert 400 <= response.status_code < 500, response.text
    return str(response.json()["error"]["error_code"])


@pytest.mark.parametrize(("path", "name"), OF_A_PATH)
def test_a_missing_field_is_refused_unless_it_is_optional(
    client: Client, path: str, name: str
) -> None:
    if name in OPTIONAL.get(path, set()):
        return
    before = client.details()
    body = {other: value for other, value in BODIES[path].items() if other != name}
    response = client.send(path, body)
    assert refusal(response).startswith("KMS.")
    assert client.details() == before


@pytest.mark.parametrize(("path", "name"), OF_A_PATH)
def test_a_wrong_value_is_refused_and_changes_nothing(client: Client, path: str, name: str) -> None:
    before = client.details()
    for value in [None, *WRONG]:
        if _is_right(path, name, value):
            continue
        response = client.send(path, {**BODIES[path], name: value})
        assert refusal(response).startswith("KMS."), (value, response.text)
    assert client.details() == before


def _is_right(path: str, name: str, value: Any) -> bool:
    if value is None:
        return name in OPTIONAL.get(path, set())  # null is as good as absent, or refused: either
    if name in FREE_TEXT and isinstance(value, str):
        return len(value) <= 128 or (name == "plain_text" and path == "encrypt-data")
    if name in NAMES and isinstance(value, str):
        return re.fullmatch(NAMES[name], value) is not None
    return name in LISTS and value == []


@pytest.mark.parametrize("path", BODIES)
def test_a_bad_sequence_and_fields_of_other_tokens_are_refused(client: Client, path: str) -> None:
    for sequence in ("x" * 37, 5, ["x"]):
        body = {"sequence": sequence} | BODIES[path]
        assert refusal(client.send(path, body)) == "KMS.0206"
    for field in ("pin", "pin_type", "vm_id"):
        assert refusal(client.send(path, {field: "1", **BODIES[path]})).startswith("KMS.")


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    "sequence", ["", "short", "0" * 32, "919c82d4-8046-4722-9094-35c3c6524cff"]
)
def test_a_sequence_has_up_to_36_characters(client: Client, path: str, sequence: str) -> None:
    """Cloud Custodian sends 32 hex digits; whatever else is wrong, the sequence isn't."""
    answer = client.send(path, {**BODIES[path], "sequence": sequence})
    assert "KMS.0206" not in answer.text


@pytest.mark.parametrize(
    "path", ["describe-key", "list-keys", "gen-random", "get-key-rotation-status"]
)
def test_unknown_fields_are_ignored_as_published(client: Client, path: str) -> None:
    body = {**BODIES[path], "enterprise_project_id": "0", "from_the_future": {"a": [1]}}
    assert client.send(path, body).status_code == 200


def test_no_truncated_or_altered_ciphertext_of_a_data_key_is_opened(client: Client) -> None:
    wanted = {**BODIES["create-key"], "key_alias": "undamaged"}  # KEY is not what it was
    key_id = client.send("create-key", wanted).json()["key_info"]["key_id"]
    asked = {**BODIES["create-datakey"], "key_id": key_id}
    cipher = bytes.fromhex(client.send("create-datakey", asked).json()["cipher_text"])
    body = {
        "key_id": key_id,
        "datakey_cipher_length": "32",
        "additional_authenticated_data": "text",
    }
    assert client.send("decrypt-datakey", {**body, "cipher_text": cipher.hex()}).status_code == 200
    cut = [cipher[:length] for length in range(1, len(cipher))]
    flipped = [
        cipher[: bit // 8] + bytes([cipher[bit // 8] ^ 1 << bit % 8]) + cipher[bit // 8 + 1 :]
        for bit in range(8 * len(cipher))
    ]
    for wrong in cut + flipped:
        response = client.send("decrypt-datakey", {**body, "cipher_text": wrong.hex()})
        assert refusal(response) == "KMS.2201"
