"""No operation looks through all keys; `make bench-keys` tells the times, with 10,000."""

from __future__ import annotations

from pathlib import Path

from tests.support.daemon import Evsd
from tests.support.hsm import build_proxy
from tests.support.key_work import work_of
from tests.support.many_keys import add_keys


def test_two_hundred_keys_make_no_operation_more_work(evsd: Evsd, tmp_path: Path) -> None:
    evsd.prepare()
    project, module = evsd.project_id(), tmp_path / "proxy.so"
    evsd.stop()
    build_proxy(module)
    few, many = (work_of(evsd, project, module, add_keys(evsd, n)[:10]) for n in (10, 200))
    assert many == few
    for work in many.values():
        assert work.searches == 0
        assert work.plan == [step for step in work.plan if step.startswith("SEARCH ")]
