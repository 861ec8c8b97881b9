"""Several volumes by one request, and requests that are repeated, by the cloud's own SDK."""

from __future__ import annotations

import sqlite3
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import huaweicloudsdkevs.v2 as evs
import pytest

from tests.api.conftest import MakeClient
from tests.support.daemon import Evsd, until
from tests.support.evs import creation, refusal, show
from tests.support.filling import FILLING_SLOWLY, under_way

BEFORE = FILLING_SLOWLY  # it is met while it fills a volume


@pytest.fixture(scope="module")
def sdk(make_client: MakeClient) -> Any:
    return make_client(evs.EvsClient)


def ended(sdk: Any, job_id: str) -> Any:
    """The job, when it has ended."""
    request = evs.ShowJobRequest(job_id=job_id)
    until(lambda: sdk.show_job(request).status != "RUNNING")
    return sdk.show_job(request)


def names(sdk: Any, prefix: str) -> list[str]:
    listed = sdk.list_volumes(evs.ListVolumesRequest(sort_key="created_at", sort_dir="asc"))
    return sorted(volume.name for volume in listed.volumes if volume.name.startswith(prefix))


def test_several_volumes_are_made_by_one_request(sdk: Any) -> None:
    tags, metadata = {"of": "batch"}, {"create_for_volume_id": "true"}
    made = sdk.create_volume(creation("many", count=3, tags=tags, metadata=metadata))
    job = ended(sdk, made.job_id)
    assert (job.status, job.job_type, job.error_code) == ("SUCCESS", "batchCreateVolume", None)
    parts = job.entities.sub_jobs
    wanted = ["many-0001", "many-0002", "many-0003"]
    assert [part.entities.name for part in parts] == wanted
    assert {(part.status, part.job_type) for part in parts} == {("SUCCESS", "createVolume")}
    assert [part.entities.volume_id for part in parts] == made.volume_ids
    volumes = [show(sdk, volume_id) for volume_id in made.volume_ids]
    assert [volume.name for volume in volumes] == wanted
    assert {volume.status for volume in volumes} == {"available"}
    assert all(volume.tags == tags for volume in volumes)
    part = sdk.show_job(evs.ShowJobRequest(job_id=parts[0].job_id))
    assert part.entities.volume_id == made.volume_ids[0]


def test_each_volume_of_several_has_a_data_key_of_its_own(sdk: Any, tcp_evsd: Evsd) -> None:
    made = sdk.create_volume(creation("own-keys", count=2))
    ended(sdk, made.job_id)
    keys = [tcp_evsd.data_key(f"own-keys-000{number}") for number in (1, 2)]
    assert keys[0] != keys[1]


def test_ids_are_told_only_if_they_are_asked_for(sdk: Any) -> None:
    assert sdk.create_volume(creation("untold")).volume_ids is None
    told = sdk.create_volume(creation("told", metadata={"create_for_volume_id": "true"}))
    [volume_id] = told.volume_ids
    assert show(sdk, volume_id).name == "told"
    assert "create_for_volume_id" not in show(sdk, volume_id).metadata


@pytest.mark.parametrize("count", [0, -1, 101, 1.5, "x"])
def test_a_bad_count_is_refused(sdk: Any, count: object) -> None:
    request = creation("counted", count=count)
    assert refusal(sdk.create_volume, request) == (400, "EVS.1021")
    assert names(sdk, "counted") == []


def test_the_name_of_several_volumes_leaves_room_for_their_numbers(sdk: Any) -> None:
    assert refusal(sdk.create_volume, creation("n" * 251, count=2)) == (400, "EVS.1003")
    ended(sdk, sdk.create_volume(creation("n" * 250, count=2)).job_id)
    assert len(names(sdk, "n" * 250)) == 2


def test_where_one_name_is_taken_none_of_several_is_made(sdk: Any) -> None:
    sdk.create_volume(creation("partly-0002"))
    assert refusal(sdk.create_volume, creation("partly", count=3)) == (400, "EVS.1003")
    assert names(sdk, "partly") == ["partly-0002"]


def test_a_quota_counts_all_of_several(sdk: Any, tcp_evsd: Evsd) -> None:
    there = len(names(sdk, ""))
    tcp_evsd.ok("quota", "set", "--volumes", str(there + 2))
    try:
        assert refusal(sdk.create_volume, creation("limited", count=3)) == (400, "EVS.1034")
        assert names(sdk, "limited") == []
        ended(sdk, sdk.create_volume(creation("limited", count=2)).job_id)
    finally:
        tcp_evsd.ok("quota", "set", "--volumes", "unlimited")


def test_of_several_those_that_fail_leave_nothing_and_the_others_are_there(
    sdk: Any, tcp_evsd: Evsd
) -> None:
    """A file is in the way of one, as none of evsd's own making can be."""
    thick = creation("failing", count=2, size=2, metadata={"evsd:provisioning": "thick"})
    made = sdk.create_volume(thick)
    request = evs.ShowJobRequest(job_id=made.job_id)
    first, second = sdk.show_job(request).entities.sub_jobs
    with under_way(tcp_evsd, first.job_id):
        (tcp_evsd.pool / f"{second.entities.volume_id}.unfinished").touch()
    job = ended(sdk, made.job_id)
    assert (job.status, job.error_code) == ("FAIL", "EVS.5500")
    assert "1 of 2 volumes were not created" in job.fail_reason
    assert [part.status for part in job.entities.sub_jobs] == ["SUCCESS", "FAIL"]
    assert names(sdk, "failing") == ["failing-0001"]


def test_several_that_were_interrupted_are_whole_or_gone_after_the_next_start(
    sdk: Any, tcp_evsd: Evsd
) -> None:
    thick = creation("killed", count=2, size=2, metadata={"evsd:provisioning": "thick"})
    made = sdk.create_volume(thick)
    first = sdk.show_job(evs.ShowJobRequest(job_id=made.job_id)).entities.sub_jobs[0]
    with under_way(tcp_evsd, first.job_id):
        tcp_evsd.kill()
    port = tcp_evsd.url().rpartition(":")[2]
    tcp_evsd.options = ("--http", f"127.0.0.1:{port}")
    tcp_evsd.start()
    job = ended(sdk, made.job_id)
    assert job.status == "FAIL"
    assert {part.status for part in job.entities.sub_jobs} == {"FAIL"}
    assert names(sdk, "killed") == []
    assert not [file for file in tcp_evsd.pool.iterdir() if file.suffix != ".luks"]


def test_a_repeated_request_makes_nothing_again(sdk: Any) -> None:
    token = str(uuid.uuid4())
    metadata = {"create_for_volume_id": "true"}
    request = creation("once", token=token, count=2, metadata=metadata)
    first, second = sdk.create_volume(request), sdk.create_volume(request)
    assert (first.job_id, first.volume_ids) == (second.job_id, second.volume_ids)
    ended(sdk, first.job_id)
    assert names(sdk, "once") == ["once-0001", "once-0002"]
    assert sdk.create_volume(request).job_id == first.job_id


def test_of_repeated_requests_at_once_one_makes_a_volume(sdk: Any) -> None:
    request = creation("at-once", token=str(uuid.uuid4()))
    with ThreadPoolExecutor(6) as clients:
        made = list(clients.map(lambda _: sdk.create_volume(request).job_id, range(6)))
    assert len(set(made)) == 1
    assert names(sdk, "at-once") == ["at-once"]


def test_a_token_is_for_one_request_alone(sdk: Any) -> None:
    token = str(uuid.uuid4())
    sdk.create_volume(creation("token-a", token=token))
    request = creation("token-b", token=token)
    assert refusal(sdk.create_volume, request) == (400, "EVS.2219")
    assert names(sdk, "token-b") == []


def test_a_token_that_is_no_uuid_is_refused(sdk: Any) -> None:
    request = creation("token-c", token="again")  # noqa: S106
    assert refusal(sdk.create_volume, request) == (400, "EVS.2218")


def test_a_refused_request_may_be_repeated_when_what_was_in_its_way_is_gone(
    sdk: Any, tcp_evsd: Evsd
) -> None:
    request = creation("retried", token=str(uuid.uuid4()))
    tcp_evsd.ok("quota", "set", "--gigabytes", "0G")
    try:
        assert refusal(sdk.create_volume, request) == (400, "EVS.1042")
    finally:
        tcp_evsd.ok("quota", "set", "--gigabytes", "unlimited")
    sdk.create_volume(request)
    assert names(sdk, "retried") == ["retried"]


def test_a_token_of_yesterday_is_refused(sdk: Any, tcp_evsd: Evsd) -> None:
    request = creation("yesterday", token=str(uuid.uuid4()))
    sdk.create_volume(request)
    with closing(sqlite3.connect(tcp_evsd.state / "evsd.db")) as database, database:
        database.execute("UPDATE client_tokens SET created_at = datetime('now', '-1 day')")
    assert refusal(sdk.create_volume, request) == (400, "EVS.2220")


def test_a_volume_without_a_name_gets_one(sdk: Any) -> None:
    metadata = {"create_for_volume_id": "true"}
    [volume_id] = sdk.create_volume(creation(None, metadata=metadata)).volume_ids  # type: ignore[arg-type]
    assert show(sdk, volume_id).name == f"volume-{volume_id[:8]}"
