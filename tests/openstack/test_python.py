"""cinderclient and openstacksdk, as programs use them: each operation, and how it is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.openstack import Account

MISSING = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def cinder(account: Account) -> Any:
    return account.cinder()


@pytest.fixture(scope="module")
def sdk(account: Account) -> Iterator[Any]:
    connection = account.sdk()
    yield connection
    connection.close()


def refused(call: Callable[..., Any], *arguments: Any, **named: Any) -> tuple[int, str]:
    """Status and text of what a call of either is refused with."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - each client has its own
        call(*arguments, **named)
    error: Any = caught.value
    return int(getattr(error, "status_code", None) or error.code), str(error)


# --- cinderclient ------------------------------------------------------------------------------


def test_cinder_has_volumes_from_create_to_delete(cinder: Any) -> None:
    made = cinder.volumes.create(1, name="whole", metadata={"use": "test"}, volume_type="SAS")
    assert cinder.volumes.get(made.id).status == "available"
    assert made.id in [one.id for one in cinder.volumes.list(search_opts={"name": "whole"})]
    cinder.volumes.extend(made, 2)
    cinder.volumes.update(made, name="renamed", description="of a test")
    cinder.volumes.set_metadata(made, {"more": "1"})
    cinder.volumes.delete_metadata(made, ["use"])
    cinder.volumes.retype(made, "SSD", "never")
    shown = cinder.volumes.get(made.id)
    assert (shown.size, shown.name, shown.volume_type) == (2, "renamed", "SSD")
    assert shown.metadata["more"] == "1"
    assert "use" not in shown.metadata
    cinder.volumes.delete(made)
    assert refused(cinder.volumes.get, made.id)[0] == 404


def test_cinder_is_told_what_is_wrong_with_a_volume(cinder: Any) -> None:
    made = cinder.volumes.create(1, name="wrong")
    create, volumes = cinder.volumes.create, cinder.volumes
    for call, arguments, named, status, why in (
        (create, [1], {"name": "wrong"}, 400, "a volume named wrong exists already"),
        (create, [0], {}, 400, "size"),
        (create, [1], {"volume_type": "none"}, 400, "one of ESSD"),
        (create, [1], {"availability_zone": "nova"}, 400, "zone"),
        (create, [1], {"metadata": {"__system__encrypted": "0"}}, 400, "every volume here is"),
        (create, [1], {"source_volid": made.id}, 400, "source_volid is not supported"),
        (volumes.extend, [made, 1], {}, 400, "1"),
        (volumes.extend, [MISSING, 2], {}, 404, "does not exist"),
        (volumes.retype, [made, "SATA", "never"], {}, 400, "it is not a higher one"),
        (volumes.update, [MISSING], {"name": "x"}, 404, "does not exist"),
        (volumes.delete, [MISSING], {}, 404, "does not exist"),
        (volumes.force_delete, [made], {}, 400, "not os-force_delete"),
        (volumes.set_bootable, [made, True], {}, 400, "not os-set_bootable"),
        (volumes.set_metadata, [made, {"__system__cmkid": MISSING}], {}, 400, "__system__cmkid"),
        (volumes.list, [], {"search_opts": {"nmae": "x"}}, 400, "nmae"),
        (cinder.transfers.create, [made.id], {}, 400, "it is encrypted"),
        (cinder.services.disable, ["h", "b"], {}, 404, "The API PUT"),
    ):
        told = refused(call, *arguments, **named)
        assert (told[0], why in told[1]) == (status, True), told
    cinder.volumes.delete(made)


def test_cinder_pages_and_sums_up(cinder: Any) -> None:
    made = [cinder.volumes.create(1, name=f"page-{n}", metadata={"of": "page"}) for n in range(3)]
    first = cinder.volumes.list(limit=2, sort="created_at:asc", search_opts={"metadata": "{}"})
    rest = cinder.volumes.list(marker=first[-1].id, sort="created_at:asc")
    assert [one.name for one in [*first, *rest]][-3:] == ["page-0", "page-1", "page-2"]
    summary = cinder.volumes.summary(all_tenants=False)["volume-summary"]
    assert summary["metadata"]["of"] == ["page"]
    for one in made:
        cinder.volumes.delete(one)


def test_cinder_attaches_and_detaches(cinder: Any) -> None:
    volume = cinder.volumes.create(1, name="attached")
    made = cinder.attachments.create(volume.id, {}, None, mode="ro")
    assert cinder.volumes.get(volume.id).status == "reserved"
    host = {"host": "here", "initiator": "x", "ip": "127.0.0.1", "mountpoint": ""}
    given = cinder.attachments.update(made["id"], host)
    assert given.connection_info["driver_volume_type"] == "nbd"
    assert given.connection_info["data"]["access_mode"] == "ro"
    cinder.attachments.complete(made["id"])
    assert cinder.volumes.get(volume.id).status == "in-use"
    assert cinder.attachments.show(made["id"]).status == "attached"
    listed = cinder.attachments.list(search_opts={"volume_id": volume.id})
    assert [one.id for one in listed] == [made["id"]]
    assert refused(cinder.attachments.create, volume.id, {}, None)[0] == 400
    assert refused(cinder.volumes.delete, volume)[0] == 400
    cinder.attachments.delete(made["id"])
    assert cinder.volumes.get(volume.id).status == "available"
    for call in (cinder.attachments.show, cinder.attachments.delete, cinder.attachments.complete):
        assert refused(call, made["id"])[0] == 404
    assert refused(cinder.attachments.create, MISSING, {}, None)[0] == 404
    cinder.volumes.delete(volume)


def test_cinder_takes_lists_and_reverts_to_snapshots(cinder: Any) -> None:
    volume = cinder.volumes.create(1, name="snapped")
    made = cinder.volume_snapshots.create(volume.id, name="then", metadata={"use": "test"})
    assert cinder.volume_snapshots.get(made.id).status == "available"
    cinder.volume_snapshots.update(made, name="before", description="of a test")
    cinder.volume_snapshots.set_metadata(made, {"more": "1"})
    cinder.volume_snapshots.delete_metadata(made, ["use"])
    [found] = cinder.volume_snapshots.list(search_opts={"volume_id": volume.id})
    assert (found.name, found.metadata) == ("before", {"more": "1"})
    cinder.volumes.revert_to_snapshot(volume, made)
    assert cinder.volumes.get(volume.id).status == "available"
    other = cinder.volumes.create(1, name="not snapped")
    snapshots, revert = cinder.volume_snapshots, cinder.volumes.revert_to_snapshot
    for call, arguments, named, status, why in (
        (revert, [other, made], {}, 400, "before"),
        (snapshots.create, [MISSING], {"name": "x"}, 404, "does not exist"),
        (snapshots.get, [MISSING], {}, 404, "does not exist"),
        (snapshots.delete, [MISSING], {}, 404, "does not exist"),
        (snapshots.update, [MISSING], {"name": "x"}, 404, "does not exist"),
        (snapshots.list, [], {"search_opts": {"nmae": "x"}}, 400, "nmae"),
    ):
        told = refused(call, *arguments, **named)
        assert (told[0], why in told[1]) == (status, True), told
    cinder.volume_snapshots.delete(made)
    assert refused(cinder.volume_snapshots.get, made.id)[0] == 404
    for one in (volume, other):
        cinder.volumes.delete(one)


def test_cinder_asks_for_types_quotas_limits_and_services(cinder: Any, account: Account) -> None:
    kinds = {kind.name: kind for kind in cinder.volume_types.list()}
    assert cinder.volume_types.get(kinds["SSD"].id).get_keys()["volume_backend_name"] == "SSD"
    assert cinder.volume_types.default().name == "SSD"
    assert cinder.volume_encryption_types.get(kinds["SSD"].id).cipher == "aes-xts-plain64"
    assert cinder.quotas.get(account.project_id, usage=True).volumes["in_use"] >= 0
    assert cinder.quotas.defaults(account.project_id).volumes == -1
    limits = {limit.name: limit.value for limit in cinder.limits.get().absolute}
    assert limits["maxTotalVolumes"] == -1
    assert [zone.zoneName for zone in cinder.availability_zones.list()] == ["local"]
    assert {one.binary: one.state for one in cinder.services.list()}["evsd-keys"] == "up"
    assert cinder.transfers.list() == []


def test_cinder_is_refused_what_is_not_its_own(cinder: Any, account: Account) -> None:
    quotas, project = cinder.quotas, account.project_id
    for call, arguments, named in (
        (quotas.get, ["0" * 32], {}),
        (quotas.update, [project], {"volumes": 1}),
        (quotas.delete, [project], {}),
        (cinder.pools.list, [], {"detailed": True}),
    ):
        assert refused(call, *arguments, **named)[0] == 403
    assert refused(cinder.volume_types.get, MISSING)[0] == 404
    assert refused(cinder.volume_types.create, "own")[0] == 404
    wrong = account.cinder(secret="x" * 40)
    status, told = refused(wrong.volumes.list)
    assert (status, f"not the secret of access key {account.access}" in told) == (401, True)


# --- openstacksdk ------------------------------------------------------------------------------


def test_the_sdk_has_volumes_from_create_to_delete(sdk: Any) -> None:
    volumes = sdk.block_storage
    made = volumes.create_volume(name="by sdk", size=1, metadata={"use": "test"})
    made = volumes.wait_for_status(made, "available", wait=60)
    assert made.is_encrypted
    assert volumes.find_volume("by sdk").id == made.id
    volumes.extend_volume(made, 2)
    volumes.set_volume_metadata(made, more="1")
    # Of what it was not shown anew it knows only what was set last.
    volumes.delete_volume_metadata(volumes.get_volume(made.id), ["use"])
    volumes.update_volume(made, name="by the sdk")
    shown = volumes.get_volume(made.id)
    assert (shown.size, shown.name, shown.metadata["more"]) == (2, "by the sdk", "1")
    assert made.id in [one.id for one in volumes.volumes(details=False)]
    volumes.delete_volume(made)
    volumes.wait_for_delete(made, wait=60)
    assert volumes.find_volume("by the sdk") is None


def test_the_sdk_pages_through_a_list(sdk: Any) -> None:
    made = [sdk.block_storage.create_volume(name=f"sdk-{n}", size=1) for n in range(3)]
    found = [one.name for one in sdk.block_storage.volumes(limit=1)]
    assert found[:3] == ["sdk-2", "sdk-1", "sdk-0"]
    for one in made:
        sdk.block_storage.delete_volume(one)


def test_the_sdk_is_told_what_is_wrong(sdk: Any, account: Account) -> None:
    volumes = sdk.block_storage
    for call, arguments, named, status in (
        (volumes.create_volume, [], {"name": "x", "size": 0}, 400),
        (volumes.create_volume, [], {"name": "x", "size": 1, "volume_type": "none"}, 400),
        (volumes.get_volume, [MISSING], {}, 404),
        (volumes.extend_volume, [MISSING, 2], {}, 404),
        (volumes.delete_volume, [MISSING], {"ignore_missing": False}, 404),
        (volumes.get_type, [MISSING], {}, 404),
        (volumes.get_attachment, [MISSING], {}, 404),
        (volumes.update_quota_set, [account.project_id], {"volumes": 1}, 403),
    ):
        assert refused(call, *arguments, **named)[0] == status


def test_the_sdk_attaches_and_detaches(sdk: Any) -> None:
    volumes = sdk.block_storage
    volume = volumes.create_volume(name="sdk attached", size=1)
    made = volumes.create_attachment(volume, connector={"host": "here"}, instance=MISSING)
    assert made.connection_info["data"]["transport"] == "unix"
    volumes.complete_attachment(made)
    assert volumes.get_volume(volume).attachments[0]["attachment_id"] == made.id
    assert [one.id for one in volumes.attachments()] == [made.id]
    volumes.delete_attachment(made)
    volumes.delete_volume(volume)


def test_the_sdk_takes_lists_and_reverts_to_snapshots(sdk: Any) -> None:
    volumes = sdk.block_storage
    volume = volumes.create_volume(name="sdk snapped", size=1)
    made = volumes.create_snapshot(volume_id=volume.id, name="by sdk")
    volumes.wait_for_status(made, "available", wait=60)
    volumes.update_snapshot(made, name="by the sdk")
    assert volumes.find_snapshot("by the sdk").id == made.id
    assert [one.id for one in volumes.snapshots(volume_id=volume.id)] == [made.id]
    volumes.revert_volume_to_snapshot(volume, made)
    assert refused(volumes.create_snapshot, volume_id=MISSING, name="x")[0] == 404
    assert refused(volumes.get_snapshot, MISSING)[0] == 404
    volumes.delete_snapshot(made, ignore_missing=False)
    assert refused(volumes.delete_snapshot, made, ignore_missing=False)[0] == 404
    volumes.delete_volume(volume)


def test_the_sdk_finds_types_quotas_limits_zones_and_projects(sdk: Any, account: Account) -> None:
    volumes = sdk.block_storage
    assert "SSD" in [kind.name for kind in volumes.types()]
    assert volumes.find_type("SSD").extra_specs["volume_backend_name"] == "SSD"
    assert volumes.get_quota_set(account.project_id, usage=True).usage["volumes"] >= 0
    assert volumes.get_limits().absolute.max_total_volumes == -1
    assert [zone.name for zone in volumes.availability_zones()] == ["local"]
    assert [one.binary for one in volumes.services()] == ["evsd", "evsd-keys"]
    assert sdk.identity.find_project("default").id == account.project_id
