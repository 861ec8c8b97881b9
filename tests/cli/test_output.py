"""How evsctl shows things to people, and how it takes what they type."""

from __future__ import annotations

import ctypes
import json
import locale
import os
import pty
import re
import subprocess
from collections.abc import Iterator

import pytest

import evsd as product
from tests.support.daemon import Evsd


def shown(evsd: Evsd, *words: str) -> dict[str, str]:
    """The fields of a card."""
    lines = evsd.ok(*words).splitlines()
    return dict(re.split(r"\s{2,}", line, maxsplit=1) for line in lines if "  " in line)


# --- sizes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "gib", "said"),
    [
        ("10G", 10, "10G"),
        ("10GB", 10, "10G"),
        ("10 gib", 10, "10G"),
        ("1024M", 1, "1G"),
        ("10240G", 10240, "10T"),
        ("1.5T", 1536, "1536G"),
        ("0.5TiB", 512, "512G"),
        ("2TB", 2048, "2T"),
    ],
)
def test_sizes_are_taken_and_shown_as_people_write_them(
    shared_evsd: Evsd, typed: str, gib: int, said: str
) -> None:
    name = typed.replace(" ", "")
    volume = shared_evsd.object("create", name, "--size", typed)["volume"]
    assert volume["size"] == gib
    assert shown(shared_evsd, "show", name)["size"] == said
    shared_evsd.ok("delete", name, "--yes")


@pytest.mark.parametrize(
    ("typed", "say"),
    [
        ("10", "say 10G"),
        ("0.5", "say 1G"),
        ("1.5G", "say 2G"),
        ("512M", "say 1G"),
        ("10K", "like G or T"),
        ("10X", "like G or T"),
        ("1,5T", "like 10G or 1.5T"),
        ("", "like 10G or 1.5T"),
        ("G", "like 10G or 1.5T"),
        ("\u0661\u0660G", "like 10G or 1.5T"),
        ("1e3G", "like 10G or 1.5T"),
    ],
)
def test_a_size_that_may_be_meant_otherwise_is_refused(
    shared_evsd: Evsd, typed: str, say: str
) -> None:
    refused = shared_evsd.ctl("create", "sized", "--size", typed)
    assert (refused.status, say in refused.err) == (2, True), refused


def test_a_new_size_needs_a_unit_too(shared_evsd: Evsd) -> None:
    refused = shared_evsd.ctl("extend", "none", "--size", "20")
    assert (refused.status, "say 20G" in refused.err) == (2, True), refused


def test_a_volume_is_never_made_smaller_by_a_size_of_nothing(shared_evsd: Evsd) -> None:
    for typed in ("0G", "-1G"):
        assert shared_evsd.ctl("create", "nothing", f"--size={typed}").status == 1


# --- tables ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def terminal() -> Iterator[ctypes.CDLL]:
    """The C library, which knows how wide a terminal shows characters."""
    before = locale.setlocale(locale.LC_CTYPE)
    locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    yield ctypes.CDLL("libc.so.6")
    locale.setlocale(locale.LC_CTYPE, before)


def test_columns_align_whatever_the_names_are_written_in(
    shared_evsd: Evsd, terminal: ctypes.CDLL
) -> None:
    names = ["plain", "数据盘", "ディスク", "cafe\u0301", "भारत", "\u0434\u0438\u0441\u043a"]
    for name in names:
        shared_evsd.ok("create", name, "--size", "1G")
    lines = shared_evsd.ok("list").splitlines()
    assert len(lines) > len(names)
    starts = {line.partition(word)[0] for line in lines for word in ("STATUS", "available")
              if word in line}  # fmt: skip
    assert {terminal.wcswidth(ctypes.c_wchar_p(start), len(start)) for start in starts} == {
        len(lines[0].partition("STATUS")[0].encode())
    }
    for name in names:
        shared_evsd.ok("delete", name, "--yes")


# --- rotation ----------------------------------------------------------------------------------


def test_a_key_rotated_by_hand_says_when_and_that_it_does_not_rotate_itself(
    shared_evsd: Evsd,
) -> None:
    shared_evsd.ok("key", "create", "turned")
    fields = shown(shared_evsd, "key", "show", "turned")
    assert (fields["versions"], fields["last rotated"]) == ("1", "never")
    assert "versions        2" in shared_evsd.ok("key", "rotate", "turned")
    for words in (("key", "show", "turned"), ("key", "rotation", "turned")):
        fields = shown(shared_evsd, *words)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8} UTC", fields["last rotated"])
        assert (fields["versions"], fields["rotates itself"]) == ("2", "no")
        assert "rotated" not in fields
    shared_evsd.ok("key", "rotation", "turned", "--every", "30")
    assert shown(shared_evsd, "key", "show", "turned")["rotates itself"] == "every 30 days"


# --- volumes are renamed -----------------------------------------------------------------------


def test_a_volume_is_renamed_and_described(shared_evsd: Evsd) -> None:
    volume_id = shared_evsd.object("create", "first", "--size", "1G")["volume"]["id"]
    changed = shown(shared_evsd, "update", "first", "--name", "second", "--description", "mine")
    assert (changed["name"], changed["description"], changed["id"]) == ("second", "mine", volume_id)
    assert shared_evsd.object("update", "second", "--description", "")["volume"]["name"] == "second"
    assert shown(shared_evsd, "show", "second")["description"] == "-"
    assert shared_evsd.ctl("show", "first").status == 1
    assert shared_evsd.ctl("update", "second").status == 2
    shared_evsd.ok("create", "third", "--size", "1G")
    taken = shared_evsd.ctl("update", "second", "--name", "third")
    assert (taken.status, "exists" in taken.err) == (1, True), taken


def test_an_id_is_taken_in_any_case(shared_evsd: Evsd) -> None:
    volume_id = shared_evsd.object("create", "by-id", "--size", "1G")["volume"]["id"]
    assert shown(shared_evsd, "show", volume_id.upper())["name"] == "by-id"
    user = shared_evsd.object("user", "create", "cased")["user"]
    assert shown(shared_evsd, "user", "show", user["id"].upper())["name"] == "cased"


# --- small things ------------------------------------------------------------------------------


def test_what_is_empty_has_a_dash_in_tables(shared_evsd: Evsd) -> None:
    shared_evsd.ok("user", "create", "plain")
    [line] = [line for line in shared_evsd.ok("user", "list").splitlines() if "plain" in line]
    assert line.split()[:3] == ["plain", "enabled", "-"]


def test_headings_are_words(shared_evsd: Evsd) -> None:
    shared_evsd.ok("access-key", "create")
    for words in (("role", "list"), ("access-key", "list"), ("audit", "list", "--limit", "1")):
        assert "_" not in shared_evsd.ok(*words).splitlines()[0]


def test_a_change_of_nothing_is_wrong_usage(shared_evsd: Evsd) -> None:
    shared_evsd.ok("create", "as-it-is", "--size", "1G")
    for words in (
        ("update", "as-it-is"),
        ("key", "update", "test-key"),
        ("project", "update", "default"),
    ):
        refused = shared_evsd.ctl(*words)
        assert (refused.status, "say what to change: --" in refused.err) == (2, True), refused


def test_a_time_that_is_none_is_said_to_be_none(shared_evsd: Evsd) -> None:
    assert "'tomorrow' is not like" in shared_evsd.ctl("audit", "list", "--since", "tomorrow").err


def test_a_key_that_does_not_rotate_itself_is_not_called_unrotated(shared_evsd: Evsd) -> None:
    shared_evsd.ok("key", "create", "by-hand")
    shared_evsd.ok("key", "rotate", "by-hand")
    refused = shared_evsd.ctl("key", "rotation", "by-hand", "--off")
    assert "key by-hand does not rotate itself" in refused.err


def test_a_question_is_not_part_of_the_output(shared_evsd: Evsd) -> None:
    shared_evsd.ok("create", "asked", "--size", "1G")
    ours, its = pty.openpty()
    with subprocess.Popen(
        [shared_evsd.evsctl, "delete", "asked", "--output", "json"],
        env={"PATH": os.environ["PATH"], "EVSD_ENDPOINT": f"unix://{shared_evsd.socket}"},
        stdin=its,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as evsctl:
        os.write(ours, b"y\n")
        out, err = evsctl.communicate(timeout=120)
    os.close(ours)
    os.close(its)
    assert "Destroy volume asked (1G)" in err
    assert set(json.loads(out)) == {"job_id"}


# --- versions ----------------------------------------------------------------------------------


def test_both_versions_are_shown(shared_evsd: Evsd) -> None:
    answer = shared_evsd.object("version")
    assert (answer["client"], answer["server"]) == (product.__version__, product.__version__)
    assert shown(shared_evsd, "version")["evsd"] == product.__version__


@pytest.mark.parametrize("endpoint", ["unix:///nonexistent", "", "nonsense"])
def test_its_own_version_is_shown_without_evsd(shared_evsd: Evsd, endpoint: str) -> None:
    for output in ("table", "json"):
        done = shared_evsd.ctl(
            "version", "--output", output, environment={"EVSD_ENDPOINT": endpoint}
        )
        assert (done.status, done.err, product.__version__ in done.out) == (0, "", True)
    answer = json.loads(done.out)
    assert (answer["server"], answer["server_problem"] != "") == (None, True)


def test_a_stranger_is_not_told_the_version(shared_evsd: Evsd) -> None:
    with shared_evsd.http() as http:
        known = http.get("/v3/auth/domains")
        assert known.headers["x-evsd-version"] == product.__version__
        too_long = http.post("/v3/users", content=bytes(600 * 1024))
        assert (too_long.status_code, "x-evsd-version" in too_long.headers) == (413, False)
