"""Bad input gets the published error, status 4xx, and nothing is half done."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.daemon import Evsd

UNKNOWN_KEY = "00000000-0000-4000-8000-000000000000"
KMS = "/v1.0/{p}/kms"
VOLUMES = "/v2.1/{p}/cloudvolumes"
CHECK = "/v2/{p}/cloudvolumes/check"
ATTACHMENTS = "/v3/{p}/attachments"


class Client:
    """Requests as they are, to one project."""

    def __init__(self, evsd: Evsd) -> None:
        self.http = evsd.http()
        self.project = evsd.project_id()
        keys = self.post(f"{KMS}/list-keys", {}).json()["key_details"]
        self.key_id = next(k["key_id"] for k in keys if k["key_alias"] == "test-key")

    def post(self, path: str, body: object) -> httpx.Response:
        return self.http.post(path.format(p=self.project), json=body)

    def send(self, path: str, raw: bytes) -> httpx.Response:
        headers = {"content-type": "application/json"}
        return self.http.post(path.format(p=self.project), content=raw, headers=headers)

    def create(self, **fields: Any) -> httpx.Response:
        return self.post(VOLUMES, {"volume": {"size": 1, "name": "bad", **fields}})

    def volume_names(self) -> list[str]:
        path = f"/v2/{self.project}/cloudvolumes/detail"
        return [volume["name"] for volume in self.http.get(path).json()["volumes"]]


@pytest.fixture(scope="module")
def client(shared_evsd: Evsd) -> Iterator[Client]:
    client = Client(shared_evsd)
    yield client
    client.http.close()


def code(response: httpx.Response) -> str:
    """The published code, wherever the service puts it."""
    body = response.json()
    inner = next((value for value in body.values() if isinstance(value, dict)), body)
    return str(inner.get("error_code") or inner["code"])


@pytest.mark.parametrize(
    "size", [0, -1, 10**9, "abc", "10", None, True, [], {}, 32769, 1e400, 1.5, 0.5]
)
def test_a_bad_size_is_refused(client: Client, size: object) -> None:
    raw = json.dumps({"volume": {"name": "bad", "size": size}}).replace("Infinity", "1e400")
    response = client.send(VOLUMES, raw.encode())
    assert (response.status_code, code(response)) == (400, "EVS.1010")
    assert "bad" not in client.volume_names()


@pytest.mark.parametrize("size", ["2.0", "2e0", "20e-1", "2"])
def test_a_whole_number_is_one_however_json_spells_it(client: Client, size: str) -> None:
    name = f"spelled-{size}"
    raw = f'{{"volume": {{"name": "{name}", "size": {size}}}}}'
    assert client.send(VOLUMES, raw.encode()).status_code == 200
    found = client.http.get(f"/v2/{client.project}/cloudvolumes/detail?name={name}").json()
    assert [volume["size"] for volume in found["volumes"]] == [2]


@pytest.mark.parametrize("size", [1.5, True, "3", None, -2])
def test_a_bad_new_size_is_refused(client: Client, size: object) -> None:
    client.create(name="grows-badly")
    found = client.http.get(f"/v2/{client.project}/cloudvolumes/detail?name=grows-badly").json()
    volume_id = found["volumes"][0]["id"]
    of_evs, of_cinder = f"{VOLUMES}/{volume_id}/action", f"/v3/{{p}}/volumes/{volume_id}/action"
    for path, named in ((of_evs, "whole GiB"), (of_cinder, "new_size")):
        response = client.post(path, {"os-extend": {"new_size": size}})
        assert (response.status_code, named in response.text) == (400, True)


@pytest.mark.parametrize("name", ["", "x" * 256, 5, "a\nb", "\x00"])
def test_a_bad_name_is_refused(client: Client, name: object) -> None:
    response = client.create(name=name)
    assert (response.status_code, code(response)) == (400, "EVS.1003")


def test_a_duplicate_name_is_refused_and_the_first_volume_stays(client: Client) -> None:
    assert client.create(name="twin").status_code == 200
    response = client.create(name="twin")
    assert (response.status_code, code(response)) == (400, "EVS.1003")
    assert "twin exists already" in response.text
    assert client.volume_names().count("twin") == 1


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({"name": ""}, "EVS.1003"),
        ({"name": UNKNOWN_KEY}, "EVS.1003"),
        ({"name": "checked-twin"}, "EVS.1003"),
        ({"size": 0}, "EVS.1010"),
        ({"metadata": {"__system__cmkid": "not-a-key"}}, "EVS.2041"),
    ],
)
def test_a_check_says_what_the_create_would_and_makes_nothing(
    client: Client, fields: dict[str, Any], refused: str
) -> None:
    if "checked-twin" not in client.volume_names():
        assert client.create(name="checked-twin").status_code == 200
    wanted = {"volume": {"size": 1, "name": "checked", **fields}}
    check, create = client.post(CHECK, wanted), client.post(VOLUMES, wanted)
    assert (check.status_code, code(check)) == (400, refused)
    assert check.json() == create.json()
    good = client.post(CHECK, {"volume": {"size": 1, "name": "checked"}})
    assert (good.status_code, good.content) == (204, b"")
    assert "checked" not in client.volume_names()


@pytest.mark.parametrize(
    "metadata",
    [
        {"__system__encrypted": "0"},
        {"__system__encrypted": "yes"},
        {"__system__encrypted": 1},
        {"__system__cmkid": "not-a-key"},
        {"__system__cmkid": UNKNOWN_KEY},
        {"__system__cmkid": UNKNOWN_KEY + "\n"},
    ],
)
def test_bad_encryption_fields_are_refused(client: Client, metadata: dict[str, Any]) -> None:
    response = client.create(metadata=metadata)
    assert (response.status_code, code(response)) == (400, "EVS.2041")
    assert "bad" not in client.volume_names()


def test_a_disabled_key_makes_no_volume(client: Client, shared_evsd: Evsd) -> None:
    shared_evsd.ok("key", "create", "off")
    shared_evsd.ok("key", "disable", "off")
    key_id = shared_evsd.object("key", "show", "off")["key_info"]["key_id"]
    response = client.create(metadata={"__system__cmkid": key_id})
    assert (response.status_code, code(response)) == (400, "EVS.2040")
    assert "key off is disabled; enable it: evsctl key enable off" in response.text
    assert "bad" not in client.volume_names()


def test_a_missing_field_is_named(client: Client) -> None:
    response = client.post(VOLUMES, {"volume": {"name": "bad"}})
    assert response.status_code == 400
    assert "size" in response.text


@pytest.mark.parametrize(
    ("path", "expected"),
    [(f"{KMS}/create-key", "KMS.0202"), (VOLUMES, "EVS.5400"), (ATTACHMENTS, "EVS.5400")],
)
@pytest.mark.parametrize("raw", [b"{", b"\xff\xfe", b'{"a":', b"[1,", b"nonsense"])
def test_malformed_json_is_refused(client: Client, path: str, expected: str, raw: bytes) -> None:
    response = client.send(path, raw)
    assert (response.status_code, code(response)) == (400, expected)


@pytest.mark.parametrize("path", [f"{KMS}/create-key", f"{KMS}/list-keys", VOLUMES, ATTACHMENTS])
@pytest.mark.parametrize("raw", [b"[]", b"5", b'"text"', b"[[[[]]]]", b"[" * 100_000])
def test_json_of_a_wrong_type_is_refused(client: Client, path: str, raw: bytes) -> None:
    assert 400 <= client.send(path, raw).status_code < 500


@pytest.mark.parametrize("path", [f"{KMS}/create-key", VOLUMES, ATTACHMENTS, "/nowhere"])
def test_a_megabyte_of_garbage_is_refused(client: Client, path: str) -> None:
    assert 400 <= client.send(path, os.urandom(1024 * 1024)).status_code < 500
    assert client.create(name=f"after{abs(hash(path))}").status_code == 200


@pytest.mark.parametrize("operation", ["describe-key", "enable-key", "disable-key"])
@pytest.mark.parametrize(
    ("key_id", "expected"),
    [
        (UNKNOWN_KEY, (404, "KMS.0207")),
        ("short", (400, "KMS.0205")),
        (UNKNOWN_KEY.upper().replace("0", "A"), (400, "KMS.0205")),
        (5, (400, "KMS.0205")),
        (None, (400, "KMS.0205")),
    ],
)
def test_a_bad_key_id_is_refused(
    client: Client, operation: str, key_id: object, expected: tuple[int, str]
) -> None:
    response = client.post(f"{KMS}/{operation}", {"key_id": key_id})
    assert (response.status_code, code(response)) == expected


@pytest.mark.parametrize("alias", ["", "x" * 256, "a b", "ü", "mine/default", 5, "a\n"])
def test_a_bad_alias_is_refused(client: Client, alias: object) -> None:
    response = client.post(f"{KMS}/create-key", {"key_alias": alias})
    assert (response.status_code, code(response)) == (400, "KMS.1101")


def test_a_duplicate_alias_is_refused(client: Client) -> None:
    response = client.post(f"{KMS}/create-key", {"key_alias": "test-key"})
    assert (response.status_code, code(response)) == (400, "KMS.1104")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"datakey_length": "0"}, "KMS.1901"),
        ({"datakey_length": "8200"}, "KMS.1901"),
        ({"datakey_length": "-8"}, "KMS.1901"),
        ({"datakey_length": "9" * 100}, "KMS.1901"),
        ({"datakey_length": "12"}, "KMS.1903"),
        ({"key_spec": "RSA_2048"}, "KMS.1902"),
        ({"encryption_context": "text"}, "KMS.0208"),
        ({"encryption_context": {"a": 5}}, "KMS.0208"),
        ({"additional_authenticated_data": "x" * 129}, "KMS.0208"),
        ({"additional_authenticated_data": "a", "encryption_context": {}}, "KMS.0208"),
    ],
)
def test_a_bad_data_key_request_is_refused(
    client: Client, fields: dict[str, Any], expected: str
) -> None:
    for operation in ("create-datakey", "create-datakey-without-plaintext"):
        response = client.post(f"{KMS}/{operation}", {"key_id": client.key_id, **fields})
        assert (response.status_code, code(response)) == (400, expected)


@pytest.mark.parametrize(
    ("cipher_text", "expected"),
    [("", "KMS.2201"), ("abc", "KMS.2201"), ("zz", "KMS.2201"), ("00" * 188, "KMS.2201")],
)
def test_a_bad_ciphertext_is_refused(client: Client, cipher_text: str, expected: str) -> None:
    body = {"key_id": client.key_id, "cipher_text": cipher_text, "datakey_cipher_length": "64"}
    response = client.post(f"{KMS}/decrypt-datakey", body)
    assert (response.status_code, code(response)) == (400, expected)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/{p}/cloudvolumes/" + UNKNOWN_KEY),
        ("DELETE", "/v2/{p}/cloudvolumes/" + UNKNOWN_KEY),
        ("GET", "/v3/{p}/attachments/" + UNKNOWN_KEY),
        ("DELETE", "/v3/{p}/attachments/" + UNKNOWN_KEY),
    ],
)
def test_what_does_not_exist_is_404(client: Client, method: str, path: str) -> None:
    response = client.http.request(method, path.format(p=client.project))
    assert (response.status_code, code(response)) == (404, "EVS.5404")


def test_cinder_errors_have_cinders_shape(client: Client) -> None:
    response = client.http.get(f"/v3/{client.project}/attachments/{UNKNOWN_KEY}")
    assert response.json()["itemNotFound"]["code"] == 404


@pytest.mark.parametrize(
    "attachment",
    [
        {},
        {"volume_uuid": 5},
        {"volume_uuid": UNKNOWN_KEY, "connector": "text"},
        {"volume_uuid": UNKNOWN_KEY, "mode": "rwx"},
    ],
)
def test_a_bad_attachment_request_is_refused(client: Client, attachment: dict[str, Any]) -> None:
    response = client.post(ATTACHMENTS, {"attachment": attachment})
    assert (response.status_code, code(response)) == (400, "EVS.1009")


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "offset=-1", "offset=99999999999999999999"]
)
def test_a_bad_page_is_refused(client: Client, query: str) -> None:
    response = client.http.get(f"/v2/{client.project}/cloudvolumes/detail?{query}")
    assert (response.status_code, code(response)) == (400, "EVS.1023")


def test_another_project_is_refused(client: Client) -> None:
    response = client.http.get(f"/v2/{'0' * 32}/cloudvolumes/detail")
    assert (response.status_code, code(response)) == (403, "EVS.0003")


def test_an_unknown_path_is_the_gateways_404(client: Client) -> None:
    response = client.http.get("/v9/nothing")
    assert (response.status_code, code(response)) == (404, "APIGW.0101")


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("list-keys", {"marker": "9" * 20}, "KMS.1602"),
        ("list-keys", {"marker": 10**20}, "KMS.1602"),
        ("list-keys", {"limit": "0"}, "KMS.1601"),
        ("create-key", {"key_alias": "x", "sequence": "x" * 37}, "KMS.0206"),
        ("create-key", {"key_alias": "x", "keystore_id": "7"}, "KMS.0308"),
        ("create-key", {"key_alias": "x", "key_spec": "RSA_2048"}, "KMS.0308"),
        ("create-key", {"key_alias": "x", "key_description": "x" * 256}, "KMS.1103"),
    ],
)
def test_other_bad_fields_have_their_published_codes(
    client: Client, path: str, body: dict[str, Any], expected: str
) -> None:
    response = client.post(f"{KMS}/{path}", body)
    assert (response.status_code, code(response)) == (400, expected)


@pytest.mark.parametrize(
    ("path", "expected"),
    [(f"{KMS}/create-datakey", "KMS.0202"), (VOLUMES, "EVS.5400"), (ATTACHMENTS, "EVS.5400")],
)
@pytest.mark.parametrize("half", [r"\ud800", r"\uDFFF", r"\ude00\ud83d"])
def test_half_a_character_is_refused(client: Client, path: str, expected: str, half: str) -> None:
    response = client.send(path, f'{{"a": {{"b": ["{half}"]}}}}'.encode())
    assert (response.status_code, code(response)) == (400, expected)


def test_a_whole_character_from_two_halves_is_accepted(client: Client) -> None:
    raw = r'{"key_alias": "pair", "key_description": "\ud83d\ude00"}'
    assert client.send(f"{KMS}/create-key", raw.encode()).status_code == 200


def test_a_missing_field_of_iam_is_refused(client: Client) -> None:
    response = client.post("/v3.0/OS-AGENCY/agencies", {})
    assert (response.status_code, code(response)) == (400, "IAM.0011")


@pytest.mark.parametrize("name", [" ", "a ", " a", "0d0466b0-e727-4d9c-b35d-f84bb474a37f"])
def test_a_name_that_could_be_taken_for_another_is_refused(client: Client, name: str) -> None:
    response = client.create(name=name)
    assert (response.status_code, code(response)) == (400, "EVS.1003")


def test_a_description_can_not_forge_lines_of_a_table(client: Client) -> None:
    response = client.create(description="fine\nstatus       error")
    assert (response.status_code, code(response)) == (400, "EVS.1004")


def test_keys_of_another_kind_are_none(client: Client) -> None:
    assert client.post(f"{KMS}/list-keys", {"key_spec": "RSA_2048"}).json()["keys"] == []


@pytest.mark.parametrize("volume_id", ["short", "..%2f..%2fetc", "x" * 500, "%00", "A" * 36])
def test_a_malformed_volume_id_is_refused(client: Client, volume_id: str) -> None:
    response = client.http.get(f"/v2/{client.project}/cloudvolumes/{volume_id}")
    assert response.status_code in (400, 404)
    assert code(response) in ("EVS.1002", "APIGW.0101")


JSON_BODIES = {
    f"{KMS}/create-key": ({"key_alias": "typed"}, "KMS.0202"),
    VOLUMES: ({"volume": {"name": "typed", "size": 1}}, "EVS.5400"),
    ATTACHMENTS: ({"attachment": {"volume_uuid": UNKNOWN_KEY}}, "EVS.5400"),
    "/v3/groups": ({"group": {"name": "typed"}}, "IAM.0011"),
}


@pytest.mark.parametrize("path", JSON_BODIES)
@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({}, "it has no Content-Type"),
        ({"content-type": "application/x-www-form-urlencoded"}, "x-www-form-urlencoded"),
        ({"content-type": "text/plain"}, "text/plain"),
        ({"content-type": "multipart/form-data; boundary=x"}, "multipart/form-data"),
        ({"content-type": "nonsense"}, "nonsense"),
        ({"content-type": ""}, "Content-Type is ''"),
        ({"content-type": "application/json; charset=latin-1"}, "latin-1"),
        ({"content-type": "application/json; charset=nonsense"}, "nonsense"),
        ({"content-type": "application/json", "content-encoding": "gzip"}, "gzip"),
    ],
)
def test_a_body_of_another_kind_is_told_what_to_send(
    client: Client, path: str, headers: dict[str, str], named: str
) -> None:
    body, expected = JSON_BODIES[path]
    raw = json.dumps(body).encode()
    if "content-encoding" in headers:
        raw = gzip.compress(raw)
    response = client.http.post(path.format(p=client.project), content=raw, headers=headers)
    assert (response.status_code, code(response)) == (400, expected)
    assert named in response.text
    assert "send JSON, with Content-Type: application/json" in response.text
    assert "typed" not in client.volume_names()


@pytest.mark.parametrize("path", JSON_BODIES)
@pytest.mark.parametrize("headers", [{}, {"content-type": "application/json"}])
def test_an_empty_body_is_told_what_to_send(
    client: Client, path: str, headers: dict[str, str]
) -> None:
    response = client.http.post(path.format(p=client.project), headers=headers)
    assert response.status_code == 400
    assert "Content-Type: application/json" in response.text


@pytest.mark.parametrize(
    "given",
    ["application/json;charset=UTF-8", 'application/json; charset="utf-8"', "APPLICATION/JSON"],
)
def test_json_is_understood_however_its_type_is_spelled(client: Client, given: str) -> None:
    raw = json.dumps({"key_id": client.key_id}).encode()
    path = f"{KMS}/describe-key".format(p=client.project)
    headers = {"content-type": given, "content-encoding": "identity"}
    assert client.http.post(path, content=raw, headers=headers).status_code == 200


def test_a_list_may_be_asked_for_without_a_body(client: Client) -> None:
    for operation in ("list-keys", "list-retirable-grants"):
        answer = client.http.post(f"{KMS}/{operation}".format(p=client.project))
        assert answer.status_code == 200


def test_volumes_are_filtered_and_sorted(client: Client) -> None:
    for name in ("sort-a", "sort-b"):
        client.create(name=name)
    path = f"/v2/{client.project}/cloudvolumes/detail"
    every = client.http.get(path).json()["volumes"]
    ids = [volume["id"] for volume in every if volume["name"].startswith("sort-")]
    found = client.http.get(path, params={"ids": str(ids), "sort_key": "id", "sort_dir": "asc"})
    assert [volume["id"] for volume in found.json()["volumes"]] == sorted(ids)


def test_unknown_fields_are_ignored_as_published(client: Client) -> None:
    body = {"key_id": client.key_id, "novelty": {"a": 1}}
    assert client.post(f"{KMS}/describe-key", body).status_code == 200


def test_no_volume_file_is_left_of_all_that_was_refused(client: Client, shared_evsd: Evsd) -> None:
    files = list((shared_evsd.state / "pool").iterdir())
    assert len(files) == len(client.volume_names())
