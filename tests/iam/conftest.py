"""Two tenants of one evsd."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.support.daemon import Evsd, running_evsd
from tests.support.identity import Caller, Tenant


@pytest.fixture(scope="package", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The SDK writes an id of its own below HOME, so not in yours."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="package")
def evsd_of_tenants() -> Iterator[Evsd]:
    with running_evsd("--http", "127.0.0.1:0") as running:
        yield running


@pytest.fixture(scope="package")
def acme(evsd_of_tenants: Evsd) -> Tenant:
    return Tenant(evsd_of_tenants, "acme")


@pytest.fixture(scope="package")
def globex(evsd_of_tenants: Evsd) -> Tenant:
    return Tenant(evsd_of_tenants, "globex")


@pytest.fixture(scope="package")
def callers(acme: Tenant) -> dict[str, Caller]:
    """One user of acme for each role, by the role's name for people, and one without any."""
    roles = acme.administrator.ask("GET", "/v3/roles")["roles"]
    found = {role["display_name"]: acme.user(f"has {role['id']}", role["id"]) for role in roles}
    return {**found, "no role": acme.user("has none")}


@pytest.fixture
def stranger(evsd_of_tenants: Evsd) -> Iterator[httpx.Client]:
    """Who signs nothing."""
    with httpx.Client(base_url=evsd_of_tenants.url(), timeout=60) as http:
        yield http
