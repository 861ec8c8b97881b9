"""How many volumes, of how many GiB in all, a project may have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.daemon import Evsd


@pytest.fixture
def limited(shared_evsd: Evsd) -> Iterator[Evsd]:
    """An evsd without volumes and quotas before and after."""
    yield shared_evsd
    for volume in shared_evsd.object("list")["volumes"]:
        shared_evsd.ok("delete", volume["id"], "--yes")
    shared_evsd.ok("quota", "set", "--volumes", "unlimited", "--gigabytes", "unlimited")


def ask(evsd: Evsd, method: str, path: str, body: Any = None) -> Any:
    with evsd.http() as http:
        return http.request(method, path.format(project=evsd.project_id()), json=body)


QUOTA = "/v2/{project}/os-quota-sets/{project}"


def test_a_volume_beyond_the_quota_is_refused_with_the_published_error(limited: Evsd) -> None:
    limited.ok("quota", "set", "--volumes", "1", "--gigabytes", "3G")
    limited.ok("create", "one", "--size", "2G")
    refused = limited.ctl("create", "two", "--size", "1G")
    assert (refused.status, "EVS.1034" in refused.err) == (1, True), refused
    assert "project default has 1 of its 1 volumes" in refused.err
    assert "evsctl quota set" in refused.err
    refused = limited.ctl("extend", "one", "--size", "4G")
    assert (refused.status, "EVS.1042" in refused.err) == (1, True), refused
    [left] = limited.object("list")["volumes"]
    assert (left["name"], left["size"], left["status"]) == ("one", 2, "available")
    limited.ok("extend", "one", "--size", "3G")
    limited.ok("quota", "set", "--volumes", "unlimited")
    assert "EVS.1042" in limited.ctl("create", "two", "--size", "1G").err
    limited.ok("quota", "set", "--gigabytes", "unlimited")
    limited.ok("create", "two", "--size", "1G")


def test_of_creations_at_once_no_more_go_through_than_the_quota_has(limited: Evsd) -> None:
    limited.ok("quota", "set", "--gigabytes", "3G")
    path = f"/v2.1/{limited.project_id()}/cloudvolumes"

    def create(number: int) -> int:
        with limited.http() as http:
            wanted = {"volume": {"name": f"n{number}", "size": 1}}
            return http.post(path, json=wanted).status_code

    with ThreadPoolExecutor(12) as clients:
        answers = Counter(clients.map(create, range(12)))
    assert answers == {200: 3, 400: 9}
    assert limited.object("list")["count"] == 3
    assert len(list(limited.pool.iterdir())) == 3


def test_the_quota_is_shown_as_published_with_what_is_in_use(limited: Evsd) -> None:
    limited.ok("quota", "set", "--volumes", "7")
    limited.ok("create", "one", "--size", "2G")
    shown = ask(limited, "GET", f"{QUOTA}?usage=True").json()["quota_set"]
    assert shown["volumes"] == {"in_use": 1, "limit": 7, "reserved": 0}
    assert shown["gigabytes"] == {"in_use": 2, "limit": -1, "reserved": 0}
    assert shown["gigabytes_SSD"] == {"in_use": 2, "limit": -1, "reserved": 0}
    assert shown["id"] == limited.project_id()
    flat = ask(limited, "GET", QUOTA).json()["quota_set"]
    assert (flat["volumes"], flat["gigabytes"]) == (7, -1)
    table = limited.ok("quota", "show").splitlines()
    assert [line.split() for line in table[1:]] == [
        ["volumes", "1", "7"],
        ["gigabytes", "2G", "no", "limit"],
        ["snapshots", "0", "no", "limit"],
    ]


@pytest.mark.parametrize(
    "wanted", [{"volumes": -2}, {"volumes": "5"}, {"gigabytes": 1.5}, {"backups": 3}]
)
def test_a_limit_that_is_none_is_refused(limited: Evsd, wanted: Any) -> None:
    refused = ask(limited, "PUT", QUOTA, {"quota_set": wanted})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "EVS.1009")


def test_a_project_that_does_not_exist_has_no_quota(limited: Evsd) -> None:
    missing = QUOTA.replace("sets/{project}", "sets/" + "0" * 32)
    assert ask(limited, "GET", missing).status_code == 403
    assert ask(limited, "PUT", missing, {"quota_set": {"volumes": 1}}).status_code == 403
    assert limited.ctl("quota", "show", "nosuch").status == 1


def test_the_quota_of_one_project_is_not_that_of_another(limited: Evsd) -> None:
    limited.ok("project", "create", "local_other")
    limited.ok("quota", "set", "local_other", "--volumes", "0")
    limited.ok("create", "one", "--size", "1G")
    assert "EVS.1034" in limited.ctl("--project", "local_other", "create", "x", "--size", "1G").err
    assert " 0 " in limited.ok("quota", "show", "local_other")
