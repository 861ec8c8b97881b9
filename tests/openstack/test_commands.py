"""The commands of openstackclient, cinderclient and glanceclient."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.support.openstack import Account


def told(account: Account, *words: str) -> Any:
    """What an openstack command prints as JSON."""
    done = account.run_openstack(*words, "-f", "json")
    assert done.status == 0, (words, done)
    return json.loads(done.out)


def ok(account: Account, *words: str) -> str:
    done = account.run_openstack(*words)
    assert done.status == 0, (words, done)
    return done.out


def cinder(account: Account, *words: str) -> str:
    done = account.run_cinder(*words)
    assert done.status == 0, (words, done)
    return done.out


# --- openstack ---------------------------------------------------------------------------------


def test_openstack_has_volumes_from_create_to_delete(account: Account) -> None:
    made = told(account, "volume", "create", "--size", "1", "--property", "use=test", "osc")
    assert (made["name"], made["encrypted"], made["properties"]["use"]) == ("osc", True, "test")
    assert made["id"] in [one["ID"] for one in told(account, "volume", "list")]
    [found] = told(account, "volume", "list", "--name", "osc", "--long", "--all-projects")
    assert found["ID"] == made["id"]
    ok(account, "volume", "set", "--name", "renamed", "--description", "d", "--size", "2", "osc")
    ok(account, "volume", "set", "--property", "more=1", "renamed")
    ok(account, "volume", "unset", "--property", "use", "renamed")
    shown = told(account, "volume", "show", "renamed")
    assert (shown["size"], shown["description"], shown["status"]) == (2, "d", "available")
    assert shown["properties"]["more"] == "1"
    assert "use" not in shown["properties"]
    assert told(account, "volume", "summary")["Total Count"] >= 1
    ok(account, "volume", "delete", "renamed")
    assert "renamed" not in ok(account, "volume", "list")


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("volume show none", "No Volume found for none"),
        ("volume delete none", "none"),
        ("volume create --size 0 bad", "size 0"),
        ("volume create --size 1 --type none bad", "one of ESSD"),
        ("volume create --size 1 --property __system__encrypted=0 bad", "every volume here"),
        ("volume set --bootable there", "not os-set_bootable"),
        ("volume set --read-only there", "not os-update_readonly_flag"),
        ("volume set --state error there", "not os-reset_status"),
        ("volume set --size 1 there", "1"),
        ("volume transfer request create there", "it is encrypted"),
        ("volume type create own", "POST"),
        ("volume type show none", "No Type found for none"),
        ("volume attachment show none", "none"),
        ("volume backend pool list", "ask a user with one of these roles: operator"),
        ("quota set --volumes 1 default", "ask a user with one of these roles: operator"),
        ("quota delete --volume default", "ask a user with one of these roles: operator"),
        ("quota show --volume none", "No Project found for none"),
        ("volume backup list", "backups/detail does not exist"),
    ],
)
def test_openstack_says_why_something_is_refused(
    account: Account, there: str, command: str, why: str
) -> None:
    assert there
    done = account.run_openstack(*command.split())
    assert done.status == 1, done
    assert why in done.err


@pytest.fixture(scope="module")
def there(account: Account) -> str:
    made: str = told(account, "volume", "create", "--size", "1", "there")["id"]
    return made


def test_openstack_attaches_and_detaches(account: Account) -> None:
    ok(account, "volume", "create", "--size", "1", "joined")
    at = ("--os-volume-api-version", "3.54", "volume", "attachment")
    server = "0b9ad1d4-c2f7-4ae7-8f0c-52a7a0f2a2a2"
    volume = told(account, "volume", "show", "joined")["id"]
    made = account.sdk().block_storage.create_attachment(volume, connector={}, instance=server)
    assert told(account, *at, "list", "--volume-id", volume)[0]["ID"] == made.id
    ok(account, *at, "set", "--host", "here", made.id)
    assert told(account, *at, "show", made.id)["Status"] == "attaching"
    ok(account, *at, "complete", made.id)
    assert told(account, "volume", "show", "joined")["status"] == "in-use"
    refused = account.run_openstack("volume", "delete", "joined")
    assert (refused.status, "detach it first" in refused.err) == (1, True)
    ok(account, *at, "delete", made.id)
    ok(account, "volume", "delete", "joined")


def test_openstack_takes_lists_and_reverts_to_snapshots(account: Account) -> None:
    ok(account, "volume", "create", "--size", "1", "snapped")
    snapshot = ("volume", "snapshot")
    made = told(account, *snapshot, "create", "--volume", "snapped", "--property", "a=1", "then")
    [found] = told(account, *snapshot, "list", "--volume", "snapped", "--long")
    assert (found["ID"], found["Status"]) == (made["id"], "available")
    ok(account, *snapshot, "set", "--name", "before", "--description", "d", "then")
    ok(account, *snapshot, "unset", "--property", "a", "before")
    shown = told(account, *snapshot, "show", "before")
    assert (shown["description"], shown["properties"]) == ("d", {})
    ok(account, "--os-volume-api-version", "3.40", "volume", "revert", "before")
    ok(account, *snapshot, "delete", "before")
    for command, why in (
        (("delete", "before"), "No Snapshot found for before"),
        (("show", "before"), "No Snapshot found for before"),
        (("create", "--volume", "none", "x"), "No Volume found for none"),
    ):
        done = account.run_openstack(*snapshot, *command)
        assert (done.status, why in done.err) == (1, True), done
    ok(account, "volume", "delete", "snapped")


def test_openstack_lists_types_zones_services_quotas_and_projects(account: Account) -> None:
    assert "SSD" in [kind["Name"] for kind in told(account, "volume", "type", "list")]
    shown = told(account, "volume", "type", "show", "SSD", "--encryption-type")
    assert shown["properties"]["volume_backend_name"] == "SSD"
    assert told(account, "availability", "zone", "list", "--volume")[0]["Zone Name"] == "local"
    services = told(account, "volume", "service", "list")
    assert [service["Binary"] for service in services] == ["evsd", "evsd-keys"]
    quota = {
        one["Resource"]: one["Limit"]
        for one in told(account, "quota", "show", "--volume", "default")
    }
    assert quota["volumes"] == -1
    assert told(account, "project", "list")[0]["ID"] == account.project_id
    assert told(account, "volume", "transfer", "request", "list") == []


# --- cinder ------------------------------------------------------------------------------------


def test_cinder_has_volumes_from_create_to_delete(account: Account) -> None:
    cinder(account, "create", "1", "--name", "mine", "--metadata", "use=test")
    assert "mine" in cinder(account, "list", "--name", "mine")
    cinder(account, "extend", "mine", "2")
    cinder(account, "rename", "mine", "ours")
    cinder(account, "metadata", "ours", "set", "more=1")
    cinder(account, "retype", "ours", "ESSD")
    shown = cinder(account, "show", "ours")
    assert "more" in shown
    assert "ESSD" in shown
    assert "ours" in cinder(account, "list", "--all-tenants")
    cinder(account, "summary")
    cinder(account, "delete", "ours")
    assert "ours" not in cinder(account, "list")


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("show none", "No volume with a name or ID of 'none' exists"),
        ("create 0 --name bad", "size 0"),
        ("create 1 --name bad --volume-type none", "one of ESSD"),
        ("extend there 1", "1"),
        ("delete none", "Unable to delete any of the specified volumes"),
        ("transfer-create there", "it is encrypted"),
        ("get-pools", "roles: operator"),
        ("quota-update --volumes 1 {project}", "roles: operator"),
        ("quota-show none", "project none is not one of yours"),
        ("type-show none", "No volumetype with a name or ID of 'none' exists"),
        ("qos-list", "qos-specs does not exist"),
    ],
)
def test_cinder_says_why_something_is_refused(
    account: Account, there: str, command: str, why: str
) -> None:
    assert there
    done = account.run_cinder(*command.format(project=account.project_id).split())
    assert (done.status, why in done.err) == (1, True), done


def test_cinder_asks_for_everything_else(account: Account, there: str) -> None:
    for command, seen in (
        ("type-list", "GPSSD2"),
        ("type-show SSD", "SSD"),
        ("type-default", "SSD"),
        ("extra-specs-list", "volume_backend_name"),
        ("encryption-type-list", "aes-xts-plain64"),
        ("encryption-type-show SSD", "luks2"),
        ("availability-zone-list", "local"),
        ("service-list", "evsd-keys"),
        ("absolute-limits", "maxTotalVolumes"),
        ("rate-limits", "Verb"),
        (f"quota-show {account.project_id}", "gigabytes"),
        (f"quota-usage {account.project_id}", "volumes_SSD"),
        (f"quota-defaults {account.project_id}", "snapshots"),
        ("transfer-list", "ID"),
        ("attachment-list", "Status"),
        ("version-list", "3.54"),
        (f"metadata-show {there}", "__system__cmkid"),
    ):
        assert seen in cinder(account, *command.split()), command


def test_cinder_takes_lists_and_reverts_to_snapshots(account: Account, there: str) -> None:
    assert there
    cinder(account, "snapshot-create", "there", "--name", "then")
    cinder(account, "snapshot-rename", "then", "before")
    assert "available" in cinder(account, "snapshot-show", "before")
    assert "before" in cinder(account, "snapshot-list", "--volume-id", there)
    cinder(account, "snapshot-metadata", "before", "set", "a=1")
    assert "a" in cinder(account, "snapshot-metadata-show", "before")
    cinder(account, "revert-to-snapshot", "before")
    cinder(account, "snapshot-delete", "before")
    gone = account.run_cinder("snapshot-show", "before")
    assert (gone.status, "No snapshot with a name or ID" in gone.err) == (1, True)


def test_cinder_reserves_and_gives_back(account: Account, there: str) -> None:
    made = cinder(account, "attachment-create", "there", "--mode", "ro")
    attachment = next(line.split()[3] for line in made.splitlines() if line.startswith("| id "))
    assert "reserved" in cinder(account, "attachment-show", attachment)
    assert there in cinder(account, "attachment-list", "--volume-id", there)
    cinder(account, "attachment-delete", attachment)
    gone = account.run_cinder("attachment-show", attachment)
    assert (gone.status, "does not exist" in gone.err) == (1, True)


@pytest.mark.parametrize("asked", ["3.54", "3.71", "3.0"])
def test_cinder_goes_down_to_a_version_that_is_there(
    account: Account, asked: str, caplog: pytest.LogCaptureFixture
) -> None:
    done = account.run_cinder("list", version=asked)
    assert done.status == 0
    assert ("downgrading to 3.54" in caplog.text) == (asked == "3.71")


# --- glance ------------------------------------------------------------------------------------


def test_glance_finds_the_version_and_is_let_in_by_a_token(account: Account) -> None:
    token = account.evsd.object("token", "create")["token"]["token"]
    done = account.run_glance(token, "--os-image-api-version", "2", "image-list")
    assert (done.status, done.err) == (0, "")
    refused = account.run_glance("x" * 64, "--os-image-api-version", "2", "image-list")
    assert (refused.status, "Invalid OpenStack Identity credentials" in refused.err) == (1, True)
    assert httpx.get(f"{account.url}/versions").json()["versions"]
