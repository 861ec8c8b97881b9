"""What these tests are about is evsctl itself: they start the real one."""

from __future__ import annotations

import pytest

from tests.support.daemon import Evsd


@pytest.fixture(autouse=True)
def _real_evsctl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Evsd, "preloaded_ctl", False)
