"""An evsd on TCP, and an account for OpenStack's clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.daemon import running_evsd
from tests.support.openstack import Account


@pytest.fixture(scope="package")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with running_evsd("--http", "127.0.0.1:0") as running:
        running.prepare()
        yield Account(running, tmp_path_factory.mktemp("home"))
