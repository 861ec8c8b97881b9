"""Who calls: Unix users on the socket, and what each may do."""

from __future__ import annotations

import json
import os
import pwd
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.daemon import VENV_BIN, Evsd, Result, running_evsd, temporary_state
from tests.support.nbd import works

USER = "daemon"  # ordinary users that every Debian has
STRANGER = "games"

# What somebody who controls a volume's server would do first: ask evsd, as its own user.
ASKING_SERVER = """
import ctypes, socket
API_VERSION = 2
PR_SET_DUMPABLE = 4
given = {}
config = given.__setitem__
def get_ready():
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, int(given["dumpable"]), 0, 0, 0)
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(given["socket"])
        head = b"GET /v3/projects HTTP/1.1", b"Host: evsd", b"Connection: close"
        asking.sendall(b"".join(line + b"\\r\\n" for line in (*head, b"")))
        while part := asking.recv(65536):
            print(part.decode(), flush=True)
def open(readonly): pass
def get_size(handle): return 0
def pread(handle, buffer, offset, flags): pass
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Evsd]:
    with temporary_state() as directory:
        config = directory / "evsd.toml"
        config.write_text(f'[unix_users]\n{USER} = "ordinary user"\n')
        with running_evsd("--config", str(config)) as running:
            yield running


def ctl_as(user: str, evsd: Evsd, *words: str) -> Result:
    entry = pwd.getpwnam(user)
    done = subprocess.run(
        [evsd.evsctl, *words],
        env={"PATH": os.environ["PATH"], "EVSD_ENDPOINT": f"unix://{evsd.socket}"},
        capture_output=True,
        text=True,
        check=False,
        user=entry.pw_uid,
        group=entry.pw_gid,
        extra_groups=[],
    )
    return Result(done.returncode, done.stdout, done.stderr)


def nbdkit_as(user: str, plugin: Path, *settings: str) -> str:
    """What an nbdkit with a plugin in Python says until it has started."""
    entry = pwd.getpwnam(user)
    done = subprocess.run(
        ["nbdkit", "--unix", "-", "--run", "true", "python", plugin, *settings],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        user=entry.pw_uid,
        group=entry.pw_gid,
        extra_groups=[],
    )
    return done.stdout + done.stderr


def test_an_unknown_unix_user_is_nobody(server: Evsd) -> None:
    refused = ctl_as(STRANGER, server, "list")
    assert (refused.status, "APIGW.0301" in refused.err) == (1, True)


def test_an_ordinary_user_is_told_whom_to_ask_for_the_delegation(server: Evsd) -> None:
    refused = ctl_as(USER, server, "create", "first", "--size", "1G")
    assert (refused.status, "EVS.2055" in refused.err) == (1, True)
    assert "ask a security administrator" in refused.err


def test_an_ordinary_user_may_not_delegate(server: Evsd) -> None:
    refused = ctl_as(USER, server, "delegation", "create")
    assert (refused.status, "IAM.0002" in refused.err) == (1, True)
    assert "Security Administrator" in refused.err


def test_an_ordinary_user_may_not_disable_a_key(server: Evsd) -> None:
    server.ok("key", "create", "theirs")
    refused = ctl_as(USER, server, "key", "disable", "theirs")
    assert (refused.status, "KMS.0330" in refused.err) == (1, True)
    assert server.object("key", "show", "theirs")["key_info"]["key_state"] == "2"


def test_after_the_delegation_every_user_of_the_project_can_use_encryption(server: Evsd) -> None:
    server.ok("delegation", "create")
    made = ctl_as(USER, server, "create", "mine", "--size", "1G")
    assert made.status == 0, made
    user = server.object("user", "show", USER)["user"]
    assert server.object("show", "mine")["volume"]["user_id"] == user["id"]


@contextmanager
def started_by_user() -> Iterator[Evsd]:
    """An evsd that was never root."""
    entry = pwd.getpwnam(USER)
    with temporary_state() as state:
        os.chown(state, entry.pw_uid, entry.pw_gid)
        process = subprocess.Popen(
            [VENV_BIN / "evsd", "--state-dir", state],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=entry.pw_uid,
            group=entry.pw_gid,
            extra_groups=[],
        )
        try:
            evsd = Evsd(state)
            evsd.await_socket()
            yield evsd
        finally:
            process.terminate()
            process.wait()


def test_the_user_who_starts_evsd_administers_it() -> None:
    with started_by_user() as evsd:
        assert ctl_as(USER, evsd, "delegation", "create").status == 0
        assert ctl_as(USER, evsd, "create", "mine", "--size", "1G").status == 0
        attached = ctl_as(USER, evsd, "attach", "mine", "--transport", "uri")
        assert attached.status == 0, attached
        assert ctl_as(USER, evsd, "detach", "mine").status == 0


def test_a_volumes_server_administers_nothing_though_its_user_does() -> None:
    with started_by_user() as evsd:
        plugin = evsd.state / "plugin.py"
        plugin.write_text(ASKING_SERVER)
        for dumpable in ("0", "1"):
            answer = nbdkit_as(USER, plugin, f"socket={evsd.socket}", f"dumpable={dumpable}")
            assert "401 Unauthorized" in answer, answer
            assert "the server of a volume may ask for nothing here" in answer


def test_plain_http_is_refused_beyond_loopback() -> None:
    with temporary_state() as state:
        done = subprocess.run(
            [VENV_BIN / "evsd", "--state-dir", state, "--http", "0.0.0.0:0"],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert (done.returncode, "loopback addresses only" in done.stderr) == (1, True)


def test_a_directory_that_evsd_did_not_make_is_left_alone() -> None:
    with temporary_state() as state:
        (state / "photos").mkdir()
        state.chmod(0o755)
        done = subprocess.run(
            [VENV_BIN / "evsd", "--state-dir", state],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode, "not made by evsd" in done.stderr) == (1, True)
        assert (state.stat().st_uid, stat.S_IMODE(state.stat().st_mode)) == (0, 0o755)


def test_a_log_and_settings_may_be_in_a_new_state_directory() -> None:
    with temporary_state() as state:
        (state / "evsd.toml").write_text("")
        evsd = Evsd(state, "--config", str(state / "evsd.toml"))
        evsd.log = state / "evsd.log"
        evsd.start()
        try:
            assert evsd.object("list")["count"] == 0
        finally:
            evsd.stop()


def test_evsd_works_where_only_root_can_go() -> None:
    """As in a checkout or a state directory under /root: as root, but without capabilities."""
    with temporary_state() as closed:
        closed.chmod(0o700)
        evsd = Evsd(closed / ("long" * 10))
        evsd.log = closed / "log"
        evsd.start()
        try:
            evsd.prepare()
            evsd.ok("create", "data", "--size", "1G")
            works(evsd.ok("attach", "data", "--transport", "uri"), "write -P 1 0 4k")
            status = Path(f"/proc/{evsd.server_pids()[0]}/status").read_text()
            assert "CapEff:\t0000000000000000" in status
            evsd.ok("detach", "data")
        finally:
            evsd.stop()


def test_a_lost_database_is_not_replaced_while_its_keys_are_there() -> None:
    with running_evsd() as evsd:
        evsd.ok("key", "create", "precious")
        evsd.stop()
        (evsd.state / "evsd.db").rename(evsd.state / "moved")
        done = subprocess.run(
            [VENV_BIN / "evsd", "--state-dir", evsd.state],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode, "restore it from a backup" in done.stderr) == (1, True)
        assert not (evsd.state / "evsd.db").exists()


def test_a_role_taken_away_is_gone_from_access_keys_too() -> None:
    with temporary_state() as directory:
        config = directory / "evsd.toml"
        config.write_text(f'[unix_users]\n{USER} = "Security Administrator"\n')
        with running_evsd("--config", str(config), "--http", "127.0.0.1:0") as evsd:
            made = ctl_as(USER, evsd, "--output", "json", "access-key", "create")
            pair = json.loads(made.out)["credential"]
            environment = {
                "EVSD_ACCESS_KEY": pair["access"],
                "EVSD_SECRET_KEY": pair["secret"],
            }
            signed = {**environment, "EVSD_ENDPOINT": evsd.url()}
            assert evsd.ctl("list", environment=signed).status == 0
            config.write_text("")
            evsd.stop()
            evsd.start()
            signed = {**environment, "EVSD_ENDPOINT": evsd.url()}
            refused = evsd.ctl("list", environment=signed)
            assert (refused.status, "APIGW.0301" in refused.err) == (1, True)


def test_a_unix_user_acts_as_a_user_of_the_identity_records() -> None:
    with temporary_state() as directory:
        config = directory / "evsd.toml"
        config.write_text(f'[unix_users]\n{USER} = {{ user = "bill", domain = "initech" }}\n')
        with running_evsd("--config", str(config)) as evsd:
            unknown = ctl_as(USER, evsd, "user", "list")
            assert (unknown.status, "APIGW.0301" in unknown.err) == (1, True)
            evsd.ok("domain", "create", "initech", "--administrator", "bill")
            listed = ctl_as(USER, evsd, "user", "list")
            assert "bill" in listed.out
            assert "root" not in listed.out
            refused = ctl_as(USER, evsd, "domain", "list")
            assert (refused.status, "IAM.0002" in refused.err) == (1, True)


def test_unix_users_with_a_role_are_users_of_the_default_domain(server: Evsd) -> None:
    users = {user["name"]: user for user in server.object("user", "list")["users"]}
    assert users.keys() == {"root", USER}
    assert all(len(user["id"]) == 32 and user["enabled"] for user in users.values())


@pytest.mark.parametrize("change", [("disable",), ("delete", "--yes")])
def test_only_the_settings_change_a_unix_user(server: Evsd, change: tuple[str, ...]) -> None:
    refused = server.ctl("user", change[0], "root", *change[1:])
    assert (refused.status, "IAM.0002" in refused.err) == (1, True)
    assert "[unix_users]" in refused.err


def test_a_unix_user_taken_out_of_the_settings_is_disabled_and_can_be_removed() -> None:
    with temporary_state() as directory:
        config = directory / "evsd.toml"
        config.write_text(f'[unix_users]\n{USER} = "read-only"\n')
        with running_evsd("--config", str(config)) as evsd:
            config.write_text("")
            evsd.stop()
            evsd.start()
            assert evsd.object("user", "show", USER)["user"]["enabled"] is False
            refused = ctl_as(USER, evsd, "list")
            assert (refused.status, "APIGW.0301" in refused.err) == (1, True)
            evsd.ok("user", "delete", USER, "--yes")


def test_a_unix_user_in_a_group_has_its_roles_too(server: Evsd) -> None:
    server.ok("group", "create", "more")
    server.ok("group", "add", "more", USER)
    server.ok("key", "create", "of-the-group")
    assert "KMS.0330" in ctl_as(USER, server, "key", "disable", "of-the-group", "--yes").err
    server.ok("group", "grant", "more", "KMS Administrator")
    assert ctl_as(USER, server, "key", "disable", "of-the-group", "--yes").status == 0
    server.ok("group", "delete", "more", "--yes")


@pytest.mark.parametrize(
    "text",
    [
        '[unix_users]\nx = "operator"',
        '[tls]\nkey = "k"',
        'novelty = "x"',
        '[unix_users]\nroot = "king"',
        "= =",
    ],
)
def test_bad_settings_are_refused_by_name(text: str) -> None:
    with temporary_state() as state:
        config = state / "evsd.toml"
        config.write_text(text)
        done = subprocess.run(
            [VENV_BIN / "evsd", "--state-dir", state / "s", "--config", config],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert (done.returncode, str(config) in done.stderr) == (1, True)
