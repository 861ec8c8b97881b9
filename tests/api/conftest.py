"""An evsd that listens on TCP, and the cloud's own SDKs signed in to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials

from tests.support.daemon import Evsd, running_evsd

# Makes a client of an SDK's client class, with the given or the administrator's key pair.
MakeClient = Callable[..., Any]


@pytest.fixture(scope="module")
def tcp_evsd() -> Iterator[Evsd]:
    """One for the tests of a module, with a key `test-key` and the delegation."""
    with running_evsd("--http", "127.0.0.1:0") as running:
        running.prepare()
        yield running


@pytest.fixture(scope="module")
def credential(tcp_evsd: Evsd) -> dict[str, str]:
    """An access key of the administrator's."""
    made: dict[str, str] = tcp_evsd.object("access-key", "create")["credential"]
    return made


@pytest.fixture(scope="module")
def make_client(
    tcp_evsd: Evsd, credential: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MakeClient]:
    """Makes unmodified SDK clients; they write an id of their own below HOME, so not in yours."""
    patch = pytest.MonkeyPatch()
    patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))

    def make(kind: Any, access: str = "", secret: str = "") -> Any:
        pair = (access or credential["access"], secret or credential["secret"])
        credentials = BasicCredentials(*pair, tcp_evsd.project_id())
        builder = kind.new_builder().with_credentials(credentials)
        return builder.with_endpoint(tcp_evsd.url()).build()

    yield make
    patch.undo()
