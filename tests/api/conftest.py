"""An evsd that listens on TCP, and the cloud's own SDKs signed in to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials

from tests.support.daemon import Evsd, running_evsd
from tests.support.tokens import TOKENS, ForeignToken

# Makes a client of an SDK's client class, with the given or the administrator's key pair.
MakeClient = Callable[..., Any]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The KMS's tests run on each token; those with an evsd of their own where they say so."""
    if "token" in metafunc.fixturenames:
        everywhere = (
            getattr(metafunc.module, "ON_EACH_TOKEN", False) and "tcp_evsd" in metafunc.fixturenames
        ) or metafunc.definition.get_closest_marker("on_each_token")
        names = list(TOKENS) if everywhere else ["softhsm"]
        metafunc.parametrize("token", names, indirect=True, scope="module")


@pytest.fixture(scope="module")
def token(request: pytest.FixtureRequest) -> Iterator[ForeignToken | None]:
    """The token that evsd uses; None for its own."""
    with TOKENS[request.param]() as made:
        yield made


@contextmanager
def evsd_on(
    token: ForeignToken | None, *options: str, before: tuple[str, ...] = ()
) -> Iterator[Evsd]:
    of_token, before_token = (token.options, token.before) if token else ((), ())
    with running_evsd(*options, *of_token, before=(*before_token, *before)) as running:
        yield running


@pytest.fixture
def evsd(token: ForeignToken | None) -> Iterator[Evsd]:
    """A fresh evsd for one test."""
    with evsd_on(token) as running:
        yield running


@pytest.fixture(scope="module")
def tcp_evsd(token: ForeignToken | None, request: pytest.FixtureRequest) -> Iterator[Evsd]:
    """One for the tests of a module, run by its `BEFORE`, with `test-key` and the delegation."""
    before = getattr(request.module, "BEFORE", ())
    with evsd_on(token, "--http", "127.0.0.1:0", before=before) as running:
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
