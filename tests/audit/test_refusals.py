"""A use of a key is refused for many reasons and in many places: each leaves one record."""

from __future__ import annotations

import json
import socket
from itertools import islice
from typing import Any

import pytest

from evsd.audit.chain import newest_first
from evsd.services.kms.key_process.lifecycle import KEY_QUOTA
from tests.support.daemon import Evsd, Object
from tests.support.identity import code

MISSING = "00000000-0000-4000-8000-000000000000"


def refused(evsd: Evsd, operation: str, **body: Any) -> Object:
    """The one record of a request that must be refused."""
    with evsd.http() as http:
        answer = http.post(f"/v1.0/{evsd.project_id()}/kms/{operation}", json=body)
    assert answer.status_code >= 400, answer.text
    request_id = answer.headers["x-request-id"]
    log = islice(newest_first(evsd.state / "audit.log"), 20)
    records = [record for record in log if record["request_id"] == request_id]
    assert len(records) == 1, (answer.text, records)
    assert records[0]["result"] == code(answer)
    assert (records[0]["principal"], records[0]["source"]) == ("root", "uid:0")
    return records[0]


def test_a_key_refused_because_its_alias_is_taken(shared_evsd: Evsd) -> None:
    record = refused(shared_evsd, "create-key", key_alias="test-key")
    assert (record["action"], record["context"]) == ("create-key", {"alias": "test-key"})


def test_a_key_refused_because_of_the_quota(shared_evsd: Evsd) -> None:
    with shared_evsd.http() as http:
        path = f"/v1.0/{shared_evsd.project_id()}/kms/create-key"
        for number in range(KEY_QUOTA - 1):  # of external ones nothing is made on the token
            wanted = {"key_alias": f"filler-{number}", "origin": "external"}
            assert http.post(path, json=wanted).status_code == 200
    record = refused(shared_evsd, "create-key", key_alias="one-too-many")
    assert (record["action"], record["context"]) == ("create-key", {"alias": "one-too-many"})


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("describe-key", {"key_id": MISSING}),
        ("decrypt-data", {"cipher_text": "A" * 128}),
        ("gen-random", {"random_data_length": "7"}),
        ("create-datakey", {"key_id": MISSING, "datakey_length": "9"}),
        ("create-datakey", {"key_id": "not an id"}),
        ("list-grants", {"key_id": MISSING}),
        ("rotate-on-demand", {"key_id": MISSING}),
        ("get-parameters-for-import", {"key_id": MISSING}),
        ("schedule-key-deletion", {"key_id": MISSING, "pending_days": "1"}),
    ],
)
def test_whatever_refuses_it_and_wherever(
    shared_evsd: Evsd, operation: str, body: dict[str, Any]
) -> None:
    record = refused(shared_evsd, operation, **body)
    assert record["action"] == operation
    assert record["key_id"] == body.get("key_id", "")


def test_a_secret_in_a_refused_request_is_not_recorded(shared_evsd: Evsd) -> None:
    secret = "5ec7e7" * 8
    refused(shared_evsd, "encrypt-data", key_id="not an id", plain_text=secret)
    assert secret not in (shared_evsd.state / "audit.log").read_text()


def test_a_key_request_that_makes_no_sense(shared_evsd: Evsd) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(shared_evsd.state / "keys.sock"))
        connection.sendall(b"no request\n")
        answer = json.loads(connection.makefile().readline())
    record = next(newest_first(shared_evsd.state / "audit.log"))
    assert (record["action"], record["result"]) == ("release-volume-key", answer["error"]["code"])
    assert record["source"].startswith("pid:")


def test_a_grant_is_recorded_with_whom_it_lends_the_key(shared_evsd: Evsd) -> None:
    with shared_evsd.http() as http:
        base = f"/v1.0/{shared_evsd.project_id()}/kms"
        user_id = http.post("/v3/users", json={"user": {"name": "grantee"}}).json()["user"]["id"]
        keys = http.post(f"{base}/list-keys", json={"limit": "100"}).json()["key_details"]
        key_id = next(key["key_id"] for key in keys if key["key_alias"] == "test-key")
        wanted = {
            "key_id": key_id,
            "grantee_principal": user_id,
            "operations": ["describe-key", "create-datakey"],
        }
        grant_id = http.post(f"{base}/create-grant", json=wanted).json()["grant_id"]
        http.post(f"{base}/revoke-grant", json={"key_id": key_id, "grant_id": grant_id})
    revoked, created = islice(newest_first(shared_evsd.state / "audit.log"), 2)
    assert created["context"] == {
        "user": user_id,
        "operations": "create-datakey, describe-key",
        "grant_id": grant_id,
    }
    assert (revoked["action"], revoked["context"]) == ("revoke-grant", {"grant_id": grant_id})
