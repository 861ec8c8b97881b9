"""The rules of an unusable key and of delegation: which attach is refused, and how it is said."""

from __future__ import annotations

import pytest

from tests.support.daemon import Evsd, Result, until
from tests.support.nbd import connected, qemu_io, works
from tests.support.nbdkit import locked


@pytest.fixture
def volume(evsd: Evsd) -> str:
    """A volume under the key `test-key`."""
    evsd.ok("create", "data", "--size", "1G", "--key", evsd.prepare())
    return "data"


def attach(evsd: Evsd, volume: str) -> Result:
    return evsd.ctl("attach", volume, "--transport", "uri")


def status(evsd: Evsd, volume: str) -> str:
    return str(evsd.object("show", volume)["volume"]["status"])


def test_data_survives_detach_and_attach(evsd: Evsd, volume: str) -> None:
    works(attach(evsd, volume).out.strip(), "write -P 7 1M 64k", "flush")
    evsd.ok("detach", volume)
    assert status(evsd, volume) == "available"
    works(attach(evsd, volume).out.strip(), "read -P 7 1M 64k", "read -P 0 2M 64k")


def test_a_volume_whose_key_is_disabled_is_not_attached(evsd: Evsd, volume: str) -> None:
    evsd.ok("key", "disable", "test-key", "--yes")
    refused = attach(evsd, volume)
    assert refused.status == 1
    assert "EVS.2040" in refused.err
    assert "key test-key is disabled" in refused.err
    assert "evsctl key enable test-key" in refused.err
    assert status(evsd, volume) == "available"
    assert evsd.server_pids() == []


def test_enabling_the_key_makes_the_volume_attachable_again(evsd: Evsd, volume: str) -> None:
    evsd.ok("key", "disable", "test-key", "--yes")
    assert attach(evsd, volume).status == 1
    evsd.ok("key", "enable", "test-key")
    assert attach(evsd, volume).status == 0


def test_disabling_the_key_lets_a_connected_client_go_on(evsd: Evsd, volume: str) -> None:
    uri = attach(evsd, volume).out.strip()
    with connected(uri) as client:
        client.pwrite(b"1" * 4096, 0)
        evsd.ok("key", "disable", "test-key", "--yes")
        client.pwrite(b"2" * 4096, 4096)
        client.flush()
        assert client.pread(8192, 0) == b"1" * 4096 + b"2" * 4096


def test_with_the_last_connection_the_key_is_gone(evsd: Evsd, volume: str) -> None:
    uri = attach(evsd, volume).out.strip()
    works(uri, "write -P 1 0 4k")
    evsd.ok("key", "disable", "test-key", "--yes")
    until(lambda: not locked(evsd.pool_file(volume)))
    assert qemu_io(uri, "read 0 4k").returncode != 0
    evsd.ok("key", "enable", "test-key")
    works(uri, "read -P 1 0 4k")


def test_without_delegation_no_volume_is_made_and_it_says_whom_to_ask(evsd: Evsd) -> None:
    refused = evsd.ctl("create", "data", "--size", "1G")
    assert refused.status == 1
    assert "EVS.2055" in refused.err
    assert "security administrator of domain default" in refused.err
    assert "evsctl delegation create" in refused.err
    assert evsd.object("list")["count"] == 0
    assert evsd.object("key", "list")["total"] == 0


def test_revoking_the_delegation_stops_new_attaches_and_volumes(evsd: Evsd, volume: str) -> None:
    evsd.ok("delegation", "revoke", "--yes")
    assert "EVS.2055" in attach(evsd, volume).err
    assert "EVS.2055" in evsd.ctl("create", "more", "--size", "1G").err
    evsd.ok("delegation", "create")
    assert attach(evsd, volume).status == 0


def test_a_second_attach_is_refused(evsd: Evsd, volume: str) -> None:
    uri = attach(evsd, volume).out.strip()
    refused = attach(evsd, volume)
    assert refused.status == 1
    assert "EVS.2134" in refused.err
    assert "data is in-use" in refused.err
    works(uri, "write -P 1 0 4k")
    assert len(evsd.server_pids()) == 1


def test_an_attached_volume_is_not_deleted(evsd: Evsd, volume: str) -> None:
    uri = attach(evsd, volume).out.strip()
    refused = evsd.ctl("delete", volume, "--yes")
    assert refused.status == 1
    assert "EVS.1046" in refused.err
    works(uri, "write -P 1 0 4k")


def test_a_read_only_attachment_refuses_writes(evsd: Evsd, volume: str) -> None:
    uri = evsd.ok("attach", volume, "--transport", "uri", "--read-only")
    assert qemu_io(uri, "write -P 1 0 4k").returncode != 0
    works(uri, "read -P 0 0 4k", read_only=True)


def test_detaching_what_is_not_attached_is_refused(evsd: Evsd, volume: str) -> None:
    refused = evsd.ctl("detach", volume)
    assert (refused.status, "not attached" in refused.err) == (1, True)


def test_the_default_key_is_made_on_first_use_and_not_before(evsd: Evsd) -> None:
    evsd.ok("delegation", "create")
    assert evsd.object("key", "list")["total"] == 0
    evsd.ok("create", "first", "--size", "1G")
    evsd.ok("create", "second", "--size", "1G")
    keys = evsd.object("key", "list")["key_details"]
    assert [key["key_alias"] for key in keys] == ["evs/default"]
