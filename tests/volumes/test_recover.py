"""A volume is registered again from its file and the KMS alone."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

import pytest

from nbd_plugin import luks2
from tests.api.test_callers import USER, ctl_as
from tests.support.daemon import Evsd, Object, running_evsd, temporary_state, until
from tests.support.nbd import works
from tests.support.transfer import attached

NOBODYS = "0f2a4b6c-8d1e-4f3a-9b5c-7d9e1f3a5b7c"


def written(evsd: Evsd, volume: str = "data") -> Path:
    """A volume with something on it; returns its file."""
    evsd.ok("create", volume, "--size", "1G", "--key", "test-key")
    with attached(evsd, volume) as uri:
        works(uri, "write -P 7 0 4k", "write -P 8 1023M 1M")
    return evsd.pool_file(volume)


def lose_database(evsd: Evsd) -> None:
    """Start anew with an empty database and the old token and pool."""
    evsd.stop()
    for file in evsd.state.glob("evsd.db*"):
        file.unlink()
    evsd.options = (*evsd.options, "--new-database")
    evsd.start()


def test_a_volume_is_recovered_into_an_empty_database(evsd: Evsd) -> None:
    evsd.prepare()
    key = evsd.object("key", "show", "test-key")["key_info"]["key_id"]
    first = written(evsd)
    evsd.ok("key", "rotate", "test-key")
    second = written(evsd, "more")
    project = evsd.project_id()
    lose_database(evsd)
    assert evsd.object("list")["count"] == 0
    shown = evsd.object("recover", str(first), "data")["volume"]
    assert (shown["id"], shown["size"], shown["status"]) == (first.stem, 1, "available")
    assert shown["os-vol-tenant-attr:tenant_id"] == project
    there = ("--project", f"recovered-{project[:8]}")
    refused = evsd.ctl("recover", second.name)
    assert (refused.status, " ".join(there) in refused.err) == (1, True)
    evsd.ok(*there, "recover", second.name)
    alias = f"recovered/{key[:8]}"
    assert evsd.object(*there, "key", "show", alias)["key_info"]["key_state"] == "3"
    evsd.ok(*there, "delegation", "create")
    attach = ("attach", "data", "--transport", "uri")
    refused = evsd.ctl(*there, *attach)
    assert (refused.status, "EVS.2040" in refused.err) == (1, True)
    evsd.ok(*there, "key", "enable", alias)
    for name in ("data", f"recovered-{second.stem[:8]}"):
        uri = evsd.ok(*there, "attach", name, "--transport", "uri")
        works(uri, "read -P 7 0 4k", "read -P 8 1023M 1M")
        evsd.ok(*there, "detach", name)
    evsd.ok(*there, "create", "new", "--size", "1G", "--key", alias)


def test_a_lost_key_is_nobodys_who_only_claims_it(evsd: Evsd) -> None:
    """What the key wrapped says whose it is; nothing is left of the attempt."""
    evsd.prepare()
    file = written(evsd)
    claim_project(file, uuid.uuid4().hex)
    lose_database(evsd)
    refused = evsd.ctl("recover", file.name)
    assert (refused.status, "KMS.2201" in refused.err) == (1, True), refused
    assert evsd.object("key", "list")["key_details"] == []
    assert projects(evsd) == 1


def claim_project(file: Path, project_id: str) -> None:
    """Write another project into the header."""
    with file.open("r+b") as stream:
        header = luks2.read(stream.fileno())
        context = {**header.context, "project_id": project_id}
        luks2.write(stream.fileno(), header._replace(context=context, sequence=9))


def projects(evsd: Evsd) -> int:
    with evsd.http() as http:
        return len(http.get("/v3/projects").json()["projects"])


def test_without_a_database_evsd_does_not_start_by_itself(evsd: Evsd) -> None:
    evsd.prepare()
    evsd.stop()
    for file in evsd.state.glob("evsd.db*"):
        file.unlink()
    with pytest.raises(AssertionError, match="--new-database"):
        evsd.start()


@pytest.fixture
def lost(shared_evsd: Evsd) -> Path:
    """The file of a volume whose record alone is gone: put back after it was deleted."""
    name = f"lost-{uuid.uuid4().hex}"
    file = written(shared_evsd, name)
    kept = shared_evsd.state / "kept"
    shutil.copy2(file, kept)
    shared_evsd.ok("delete", name, "--yes")
    shutil.move(kept, file)
    shutil.chown(file, *_owner(shared_evsd.pool))
    return file


def _owner(path: Path) -> tuple[int, int]:
    return path.stat().st_uid, path.stat().st_gid


def test_a_volume_under_a_known_key_is_recovered(shared_evsd: Evsd, lost: Path) -> None:
    shown = shared_evsd.object("recover", lost.name, f"found-{lost.stem}")["volume"]
    with attached(shared_evsd, shown["id"]) as uri:
        works(uri, "read -P 7 0 4k", "read -P 8 1023M 1M")


def test_a_registered_volume_is_not_registered_twice(shared_evsd: Evsd, lost: Path) -> None:
    shared_evsd.ok("recover", lost.name, f"once-{lost.stem}")
    refused = shared_evsd.ctl("recover", lost.name, f"twice-{lost.stem}")
    assert (refused.status, "EVS.5404" in refused.err) == (1, True)


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../evsd.db",
        "..",
        "",
        f"../pool/{NOBODYS}.luks",
        f"{NOBODYS}.luks",
        f"{NOBODYS}.luks\n",
        f"{NOBODYS}.unfinished",
    ],
)
def test_what_is_no_file_of_the_pool_does_not_exist(shared_evsd: Evsd, name: str) -> None:
    body = {"volume": {"ref": {"source-name": name}}}
    with shared_evsd.http() as http:
        path = f"/v3/{shared_evsd.project_id()}/manageable_volumes"
        refused = http.post(path, json=body)
    assert refused.status_code == 404
    assert refused.json()["itemNotFound"]["error_code"] == "EVS.5404"


@pytest.mark.parametrize("kind", ["link", "directory", "fifo", "no volume"])
def test_a_file_that_is_not_what_it_should_be_is_refused(shared_evsd: Evsd, kind: str) -> None:
    file = shared_evsd.pool / f"{uuid.uuid4()}.luks"
    match kind:
        case "link":
            file.symlink_to("/etc/passwd")
        case "directory":
            file.mkdir()
        case "fifo":
            os.mkfifo(file)
        case _:
            file.write_bytes(Path("/etc/passwd").read_bytes())
    refused = shared_evsd.ctl("recover", file.name)
    file.rmdir() if kind == "directory" else file.unlink()
    assert (refused.status, "EVS.1009" in refused.err) == (1, True), refused
    assert "root:" not in refused.err


def test_a_copy_under_another_id_is_refused(shared_evsd: Evsd, lost: Path) -> None:
    copy = lost.with_name(f"{uuid.uuid4()}.luks")
    lost.rename(copy)
    refused = shared_evsd.ctl("recover", copy.name)
    copy.unlink()
    assert (refused.status, "another volume's" in refused.err) == (1, True)


def test_a_header_that_claims_another_project_is_not_believed(
    shared_evsd: Evsd, lost: Path
) -> None:
    claim_project(lost, uuid.uuid4().hex)
    refused = shared_evsd.ctl("recover", lost.name)
    assert (refused.status, "KMS.0207" in refused.err) == (1, True), refused
    assert projects(shared_evsd) == 1
    lost.unlink()


def test_only_the_operator_recovers() -> None:
    with temporary_state() as directory:
        config = directory / "evsd.toml"
        config.write_text(f'[unix_users]\n{USER} = "ordinary user"\n')
        with running_evsd("--config", str(config)) as evsd:
            refused = ctl_as(USER, evsd, "recover", f"{uuid.uuid4()}.luks")
    assert (refused.status, "operator" in refused.err) == (1, True)


def test_a_volume_is_recovered_with_its_snapshots(evsd: Evsd) -> None:
    evsd.prepare()
    file = written(evsd)
    first = snapshot(evsd, file.stem)
    with attached(evsd, "data") as uri:
        works(uri, "write -P 9 0 4k")
        second = snapshot(evsd, file.stem)
        works(uri, "write -P 10 0 4k")
    project = evsd.project_id()
    lose_database(evsd)
    missing = evsd.pool / f"{first}.layer"
    kept = missing.rename(evsd.pool / "kept")
    refused = evsd.ctl("recover", file.name, "data")
    assert (refused.status, "missing" in refused.err) == (1, True), refused
    kept.rename(missing)
    evsd.ok("recover", file.name, "data")
    there = ("--project", f"recovered-{project[:8]}")
    with evsd.http() as http:
        found = http.get(f"/v2/{project}/snapshots/detail").json()["snapshots"]
    assert [each["id"] for each in found] == [second, first]
    assert {each["status"] for each in found} == {"available"}
    evsd.ok(*there, "delegation", "create")
    key = evsd.object(*there, "key", "list")["key_details"][0]["key_alias"]
    evsd.ok(*there, "key", "enable", key)
    uri = evsd.ok(*there, "attach", "data", "--transport", "uri")
    works(uri, "read -P 10 0 4k", "read -P 8 1023M 1M")
    evsd.ok(*there, "detach", "data")


def snapshot(evsd: Evsd, volume_id: str) -> str:
    """Take one, by the published API; gives its id when it is available."""
    with evsd.http() as http:
        path = f"/v2/{evsd.project_id()}/snapshots"
        asked = {"snapshot": {"volume_id": volume_id, "force": True}}
        made: Object = http.post(path, json=asked).json()["snapshot"]

        def available() -> bool:
            shown = http.get(f"{path}/{made['id']}").json()["snapshot"]
            return bool(shown["status"] == "available")

        until(available)
    return str(made["id"])
