"""A false signature with an access key that evsd knows: nothing is done, told or recorded by it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.support.daemon import Evsd, Object
from tests.support.identity import SdkAuth

SOURCE = "127.0.0.9"
ELSEWHERE = "0" * 32
FALSE = "the secret of another pair"


class Thief:
    """Knows an access key that was just used, and not its secret."""

    def __init__(self, evsd: Evsd) -> None:
        self.evsd, self.project_id = evsd, evsd.project_id()
        self.pair: Object = evsd.object("access-key", "create")["credential"]
        transport = httpx.HTTPTransport(local_address=SOURCE)
        self.http = httpx.Client(base_url=evsd.url(), transport=transport, timeout=60)
        assert self.ask("list-keys", {}, self.pair["secret"]).status_code == 200

    def ask(
        self, operation: str, body: Object, secret: str = FALSE, project_id: str = ""
    ) -> httpx.Response:
        path = f"/v1.0/{project_id or self.project_id}/kms/{operation}"
        return self.http.post(path, json=body, auth=SdkAuth(self.pair["access"], secret))

    def actions(self) -> list[str]:
        """What is on record of this source, the last one first."""
        found = self.evsd.object("audit", "list", "--limit", "1000")["records"]
        return [record["action"] for record in found if record["source"] == SOURCE]


@pytest.fixture
def thief(tcp_evsd: Evsd) -> Iterator[Thief]:
    thief = Thief(tcp_evsd)
    yield thief
    thief.http.close()


def is_stranger(answer: httpx.Response) -> bool:
    """Answered as somebody of whom nothing is known, and who is told nothing."""
    assert answer.json()["error_code"] == "APIGW.0301"
    return answer.status_code == 401 and "x-evsd-version" not in answer.headers


def test_it_makes_no_key(thief: Thief) -> None:
    assert is_stranger(thief.ask("create-key", {"key_alias": "stolen"}))
    assert "stolen" not in thief.evsd.ok("key", "list")
    assert "create-key" not in thief.actions()


@pytest.mark.parametrize(
    ("operation", "body", "project_id"),
    [
        ("create-key", {"key_alias": "?"}, ""),
        ("no-such-operation", {}, ""),
        ("list-keys", {}, ELSEWHERE),
        ("describe-key", {"key_id": "00000000-0000-0000-0000-000000000000"}, ""),
    ],
)
def test_it_learns_nothing_of_what_else_is_wrong(
    thief: Thief, operation: str, body: Object, project_id: str
) -> None:
    before = thief.actions()
    assert is_stranger(thief.ask(operation, body, project_id=project_id))
    after = thief.actions()
    assert set(after[: len(after) - len(before)]) <= {"authenticate"}


def test_it_is_on_record_as_a_failed_authentication(thief: Thief) -> None:
    """Once: those that follow are counted."""
    assert all(is_stranger(thief.ask("list-keys", {})) for _ in range(3))
    assert thief.actions().count("authenticate") == 1


def test_a_key_that_was_taken_away_is_refused_at_once(thief: Thief) -> None:
    thief.evsd.ok("access-key", "disable", thief.pair["access"])
    assert is_stranger(thief.ask("list-keys", {}, thief.pair["secret"]))
    thief.evsd.ok("access-key", "enable", thief.pair["access"])
    assert thief.ask("list-keys", {}, thief.pair["secret"]).status_code == 200
    thief.evsd.ok("access-key", "delete", thief.pair["access"], "--yes")
    assert is_stranger(thief.ask("list-keys", {}, thief.pair["secret"]))


def test_who_has_the_secret_is_served_after_it(thief: Thief) -> None:
    assert is_stranger(thief.ask("list-keys", {}))
    assert thief.ask("list-keys", {}, thief.pair["secret"]).status_code == 200
