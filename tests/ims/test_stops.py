"""evsd is stopped while it makes an image of a file that has come."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.daemon import running_evsd, until
from tests.support.images import disk
from tests.support.ims import queued, sent, shown
from tests.support.transfer import attached, identical

# evsd, but it waits only a moment for requests that are under way, and its servers write slowly.
_STOPS_SOON = """
import runpy, sys
from evsd.api import server as api
from evsd.serving import server
api.GRACE_S = 0.1
command = server._command
def slowed(*given):
    nbdkit, *arguments = command(*given)
    return [nbdkit, "--filter=delay", *arguments, "delay-write=400ms"]
server._command = slowed
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_what_fails_because_evsd_stops_is_gone_on_with_at_its_next_start(tmp_path: Path) -> None:
    """The tools' next connections would get no key any more."""
    raw = disk(tmp_path / "raw")
    with (
        running_evsd(before=(sys.executable, "-c", _STOPS_SOON)) as evsd,
        evsd.http() as http,
        ThreadPoolExecutor(1) as sending,
    ):
        evsd.prepare()
        image_id = queued(http, "interrupted")
        answer = sending.submit(sent, http, image_id, raw)
        until(lambda: (evsd.pool / f"{image_id}.luks").exists())
        assert evsd.stop() == 0
        refused = answer.result()
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "IMG.0046")
        evsd.start()
        until(lambda: shown(evsd, image_id)["status"] != "saving")
        evsd.ok("create", "volume", "--from-image", "interrupted")
        with attached(evsd, "volume") as uri:
            assert identical(raw, uri)
