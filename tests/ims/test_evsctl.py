"""evsctl image: what it prints, and that nothing half-made is left."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.daemon import Evsd, until
from tests.support.images import cut, disk
from tests.support.ims import shown
from tests.support.relay import interrupted


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return disk(tmp_path_factory.mktemp("raw") / "raw")


def names(evsd: Evsd) -> list[str]:
    return [image["name"] for image in evsd.object("image", "list")["images"]]


def test_an_image_is_imported_listed_shown_renamed_and_deleted(
    shared_evsd: Evsd, raw: Path
) -> None:
    words = ("image", "import", str(raw), "one", "--key", "test-key", "--tag", "blue")
    made = shared_evsd.object(*words, "--min-disk", "2G", "--description", "first")
    assert made == shown(shared_evsd, made["id"])
    assert (made["status"], made["tags"], made["min_disk"]) == ("active", ["blue"], 2)
    row = next(line for line in shared_evsd.ok("image", "list").splitlines() if "one" in line)
    assert row.split() == ["one", "1G", "raw", "active", "test-key", made["id"]]
    card = shared_evsd.ok("image", "show", made["id"])
    for line in ("description   first", "least volume  2G", "made of       file"):
        assert line in card
    shared_evsd.ok("image", "update", "one", "--name", "other", "--description", "second")
    assert shared_evsd.object("image", "show", "other")["__description"] == "second"
    assert shared_evsd.ctl("image", "delete", "other").status == 2  # nobody to ask
    shared_evsd.ok("image", "delete", "other", "--yes")
    assert "other" not in names(shared_evsd)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("image", "import", "-", "x"), 2, "give a file, not a stream"),
        (("image", "import", "/no/such/file", "x"), 1, "/no/such/file: No such file"),
        (("image", "show", "x"), 1, "IMG.0027: image x does not exist"),
        (("image", "copy", "x", "y"), 1, "IMG.0027"),
        (("image", "create", "x", "--from-volume", "y"), 1, "EVS.5404"),
        (("create", "x"), 2, "say --size, "),
        (("create", "x", "--from-image", "y"), 1, "IMG.0027"),
    ],
)
def test_what_can_not_be_done_is_said(
    shared_evsd: Evsd, words: tuple[str, ...], status: int, said: str
) -> None:
    done = shared_evsd.ctl(*words)
    assert (done.status, said in done.err) == (status, True), done


def test_of_a_file_that_is_refused_no_image_is_left(shared_evsd: Evsd, raw: Path) -> None:
    refused = shared_evsd.ctl("image", "import", str(cut(raw, 3_000_001)), "cut")
    assert "IMG.0057: cut has 3,000,001 bytes, no whole sectors of 512" in refused.err
    assert "cut" not in names(shared_evsd)


@pytest.mark.parametrize("request_line", [b"POST /v2/images ", b"PUT /v2/images/"])
def test_an_interrupted_import_leaves_no_image(
    shared_evsd: Evsd, raw: Path, request_line: bytes
) -> None:
    words = ("image", "import", str(raw), "broken-off")
    assert interrupted(shared_evsd, signal.SIGINT, request_line, *words) == 1
    until(lambda: "broken-off" not in names(shared_evsd))
