"""What Cinder's clients ask of the service itself: versions, limits, services, types."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.support.cinder import Cinder
from tests.support.daemon import Evsd

HEADER = "OpenStack-API-Version"


@pytest.fixture(scope="module")
def cinder(shared_evsd: Evsd) -> Iterator[Cinder]:
    made = Cinder(shared_evsd, "v3")
    yield made
    made.http.close()


def test_limits_are_the_quota_in_other_words(cinder: Cinder, shared_evsd: Evsd) -> None:
    cinder.create("counted", size=2)
    shared_evsd.ok("quota", "set", "--volumes", "7", "--gigabytes", "100G")
    absolute = cinder.ask("GET", "/limits").json()["limits"]["absolute"]
    assert (absolute["maxTotalVolumes"], absolute["maxTotalVolumeGigabytes"]) == (7, 100)
    assert (absolute["totalVolumesUsed"], absolute["totalGigabytesUsed"]) == (1, 2)
    assert absolute["maxTotalSnapshots"] == -1
    project = cinder.base.rpartition("/")[2]
    quota = cinder.ask("GET", f"/os-quota-sets/{project}").json()["quota_set"]
    defaults = cinder.ask("GET", f"/os-quota-sets/{project}/defaults").json()["quota_set"]
    assert (quota["volumes"], defaults["volumes"]) == (7, -1)


def test_services_are_evsd_and_its_key_process(cinder: Cinder) -> None:
    def states(query: str = "") -> dict[str, str]:
        listed = cinder.ask("GET", f"/os-services{query}").json()["services"]
        return {service["binary"]: service["state"] for service in listed}

    assert states() == {"evsd": "up", "evsd-keys": "up"}
    assert states("?binary=evsd") == {"evsd": "up"}
    assert states("?host=elsewhere") == {}
    assert cinder.refused("GET", "/os-services?nmae=x")[:2] == (400, "badRequest")


def test_every_type_is_encrypted_and_found_by_its_name(cinder: Cinder) -> None:
    [found] = cinder.ask("GET", "/types?name=SSD&is_public=None").json()["volume_types"]
    shown = cinder.ask("GET", f"/types/{found['id']}/encryption").json()
    assert (shown["cipher"], shown["key_size"]) == ("aes-xts-plain64", 512)
    assert shown["volume_type_id"] == found["id"]
    assert cinder.refused("GET", "/types/none/encryption")[:2] == (404, "itemNotFound")
    assert cinder.ask("GET", "/types?name=none").json() == {"volume_types": []}


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (None, "volume 3.0"),
        ("volume 3.27", "volume 3.27"),
        ("volume 3.54", "volume 3.54"),
        ("volume latest", "volume 3.54"),
        ("compute 2.90, volume 3.44", "volume 3.44"),
        ("compute 2.90", "volume 3.0"),
        ("", "volume 3.0"),
    ],
)
def test_an_answer_names_the_version_that_was_asked_for(
    cinder: Cinder, asked: str | None, told: str
) -> None:
    headers = {} if asked is None else {HEADER: asked}
    for path, status in (("/volumes", 200), ("/volumes/missing", 404)):
        answer = cinder.http.get(f"{cinder.base}{path}", headers=headers)
        assert (answer.status_code, answer.headers[HEADER]) == (status, told)
        assert answer.headers["vary"] == HEADER


@pytest.mark.parametrize(
    ("asked", "status", "why"),
    [
        ("volume 3.55", 406, "3.0 to 3.54 are"),
        ("volume 4.0", 406, "3.0 to 3.54 are"),
        ("volume 2.0", 406, "3.0 to 3.54 are"),
        ("volume 3", 400, "'volume 3' is no version"),
        ("volume 3.x", 400, "is no version"),
        ("volume", 400, "is no version"),
    ],
)
def test_a_version_that_there_is_not_is_refused(
    cinder: Cinder, asked: str, status: int, why: str
) -> None:
    answer = cinder.http.post(f"{cinder.base}/volumes", json={}, headers={HEADER: asked})
    told = answer.json()["badRequest"]
    assert (answer.status_code, told["code"]) == (status, status)
    assert why in told["message"]


def test_no_other_path_knows_such_versions(cinder: Cinder) -> None:
    for path in ("/v3/projects", cinder.base.replace("v3", "v2") + "/volumes", "/"):
        answer = cinder.http.get(path, headers={HEADER: "volume 9.9"})
        assert (answer.status_code, HEADER in answer.headers) == (200, False)


def test_a_path_that_there_is_not_is_told_as_clients_read_it(
    cinder: Cinder, shared_evsd: Evsd
) -> None:
    pair = shared_evsd.object("access-key", "create")["credential"]
    by_pair = httpx.BasicAuth(pair["access"], pair["secret"])
    for path in ("/qos-specs", "/volumes/a/b/c"):
        told = cinder.http.get(f"{cinder.base}{path}", auth=by_pair).json()
        assert [told["itemNotFound"]["code"]] == [one["code"] for one in told.values()] == [404]
    nobody = cinder.http.get(f"{cinder.base}/volumes", auth=("x", "y")).json()
    assert nobody["unauthorized"]["error_code"] == "APIGW.0301"
    assert len(nobody) == 1
    assert "error_msg" in cinder.ask("GET", "/qos-specs").json()  # of the cloud's clients
