"""Where no project is given, the SDKs ask for it by the name of the region."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huaweicloudsdkevs.v2 as evs
import huaweicloudsdkiam.v3 as iam
import huaweicloudsdkkms.v2 as kms
import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials, GlobalCredentials
from huaweicloudsdkcore.exceptions.exceptions import SdkException
from huaweicloudsdkcore.region.region import Region

from tests.support.daemon import Evsd, running_evsd
from tests.support.identity import Caller, Tenant

REGION = "eu-test-1"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("settings") / "evsd.toml"
    path.write_text(f'region = "{REGION}"\n')
    return path


@pytest.fixture(scope="module")
def evsd(settings: Path) -> Iterator[Evsd]:
    """One whose region was named at its first start."""
    with running_evsd("--http", "127.0.0.1:0", "--config", str(settings)) as running:
        yield running


@pytest.fixture(scope="module")
def tenant(evsd: Evsd) -> Tenant:
    return Tenant(evsd, "regional")


Make = Callable[..., Any]


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes a client of the SDK with a region and without a project; no look-up is remembered."""
    monkeypatch.setattr(BasicCredentials, "_CACHE", {})
    monkeypatch.setattr(GlobalCredentials, "_CACHE", {})

    def make(kind: Any, caller: Caller, region: str = REGION, of: Any = BasicCredentials) -> Any:
        credentials = of(caller.pair["access"], caller.pair["secret"])
        credentials = credentials.with_iam_endpoint(caller.url)
        builder = kind.new_builder().with_credentials(credentials)
        return builder.with_region(Region(region, caller.url)).build()

    return make


def test_the_sdks_find_the_default_project(client: Make, tenant: Tenant) -> None:
    caller = tenant.administrator
    made = client(kms.KmsClient, caller).create_key(
        kms.CreateKeyRequest(kms.CreateKeyRequestBody(key_alias="found"))
    )
    path = f"/v1.0/{tenant.project_id}/kms/describe-key"
    shown = caller.ask("POST", path, {"key_id": made.key_info.key_id})["key_info"]
    assert (shown["key_alias"], shown["realm"]) == ("found", REGION)
    assert client(evs.EvsClient, caller).list_volumes(evs.ListVolumesRequest()).count == 0


def test_the_sdks_find_the_domain(client: Make, tenant: Tenant) -> None:
    found = client(iam.IamClient, tenant.administrator, of=GlobalCredentials)
    users = found.keystone_list_users(iam.KeystoneListUsersRequest()).users
    assert tenant.administrator.user_id in [user.id for user in users]


def listed(caller: Caller, name: str) -> list[str]:
    return [p["id"] for p in caller.ask("GET", f"/v3/projects?name={name}")["projects"]]


def test_whoever_has_one_project_only_finds_it(client: Make, tenant: Tenant) -> None:
    project = tenant.project("only")
    caller = tenant.user("has-one", "user", project)
    assert listed(caller, REGION) == [project]
    count = client(evs.EvsClient, caller).list_volumes(evs.ListVolumesRequest()).count
    assert count == 0


def test_whoever_has_several_without_the_default_one_is_told_them(
    client: Make, tenant: Tenant
) -> None:
    """The SDK names them and asks which it is to be."""
    projects = [tenant.project(f"several-{number}") for number in range(2)]
    caller = tenant.user("has-several", "user", projects[0])
    group = tenant.administrator.ask("POST", "/v3/groups", {"group": {"name": "both"}})["group"]
    ask = tenant.administrator.ask
    ask("PUT", f"/v3/groups/{group['id']}/users/{caller.user_id}")
    ask("PUT", f"/v3/projects/{projects[1]}/groups/{group['id']}/roles/user")
    with pytest.raises(SdkException, match="Multiple project ids") as caught:
        client(evs.EvsClient, caller).list_volumes(evs.ListVolumesRequest())
    assert all(project in str(caught.value) for project in projects)


def test_whoever_has_no_project_finds_none(client: Make, tenant: Tenant) -> None:
    with pytest.raises(SdkException, match="Failed to get project id"):
        client(evs.EvsClient, tenant.user("has-none"))


def test_another_regions_name_finds_nothing(client: Make, tenant: Tenant) -> None:
    for name in ("local", "cn-north-4", "", REGION.upper(), f"{REGION}_x"):
        assert listed(tenant.administrator, name) == []
    with pytest.raises(SdkException, match="Failed to get project id"):
        client(kms.KmsClient, tenant.administrator, "cn-north-4")


def test_a_project_of_the_regions_name_comes_first(tenant: Tenant) -> None:
    assert listed(tenant.administrator, REGION) == [tenant.project_id]
    named = tenant.project(REGION)
    assert listed(tenant.administrator, REGION) == [named]
    assert listed(tenant.administrator, "default") == [tenant.project_id]


def test_evsctl_takes_no_region_for_a_project(evsd: Evsd) -> None:
    refused = evsd.ctl("--project", REGION, "list")
    assert (refused.status, f"project {REGION} does not exist" in refused.err) == (1, True)


def test_the_region_stays_until_the_settings_rename_it(settings: Path) -> None:
    with running_evsd("--config", str(settings)) as evsd:
        project = evsd.project_id()
        evsd.prepare()
        evsd.ok("create", "disk", "--size", "1G")
        evsd.stop()
        evsd.options = ()
        evsd.start()
        assert region(evsd) == (REGION, project)
        settings.write_text('region = "moved"\n')
        evsd.stop()
        evsd.options = ("--config", str(settings))
        evsd.start()
        assert region(evsd) == ("moved", project)
        assert evsd.object("show", "disk")["volume"]["status"] == "available"
        assert evsd.events("the region has another name")[-1]["before"] == REGION
        settings.write_text(f'region = "{REGION}"\n')


def region(evsd: Evsd) -> tuple[str, str]:
    """Its name, and the project that is found by it."""
    with evsd.http() as http:
        name = str(http.get("/v3/regions").json()["regions"][0]["id"])
        found = http.get("/v3/projects", params={"name": name}).json()["projects"]
    return name, str(found[0]["id"])


@pytest.mark.parametrize("name", ["", "a b", "-a", "x" * 65, "ü"])
def test_a_name_no_region_can_have_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "evsd.toml"
    path.write_text(f'region = "{name}"\n')
    with (
        pytest.raises(AssertionError, match="region"),
        running_evsd("--config", str(path)),
    ):
        pass
