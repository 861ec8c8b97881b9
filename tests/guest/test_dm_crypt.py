"""Stock dm-crypt of a Debian kernel on our files: the same filesystem, or a refusal."""

from __future__ import annotations

from pathlib import Path

from tests.support.administrator import add_passphrase
from tests.support.daemon import running_evsd
from tests.support.guest import Guest
from tests.support.transfer import run, small_pool, volume_key

SCRIPT = """
set -e
export DM_DISABLE_UDEV=1
mkdir /tmp/mnt
by_key() { cryptsetup open --readonly --key-size 512 --volume-key-file "$@"; }
same() {
    mount -o ro /dev/mapper/opened /tmp/mnt
    diff -r -x lost+found docs /tmp/mnt && echo "the same $1"
    umount /tmp/mnt
    cryptsetup close opened
}
by_key $SHARE/thick.key /dev/vda opened
same "on vda"
by_key $SHARE/exported.key /dev/vdb opened
same "on vdb"
cryptsetup open --readonly --key-file $SHARE/passphrase /dev/vda opened
same "by the passphrase"
! by_key $SHARE/thin.key /dev/vdc opened 2>&1
"""


def test_thick_and_exported_volumes_open_also_by_a_passphrase_and_a_thin_one_is_refused(
    guest: Guest, tmp_path: Path
) -> None:
    image, exported, passphrase = (tmp_path / name for name in ("image", "exported", "exporting"))
    run("mkfs.ext4", "-q", "-b", "4096", "-d", "docs", image, "64M")
    passphrase.write_text("passphrase")
    with small_pool(3000) as (pool, config), running_evsd("--config", str(config)) as evsd:
        evsd.pool = pool
        evsd.prepare()
        evsd.ok("import", str(image), "thick", "--thick", "--key", "test-key")
        evsd.ok("import", str(image), "thin", "--key", "test-key")
        key_file = ("--key-file", str(passphrase))
        evsd.ok("export", "thin", str(exported), "--format", "luks2", *key_file)
        added = add_passphrase(evsd.pool_file("thick"), evsd.data_key("thick"), tmp_path)
        evsd.ok("extend", "thick", "--size", "2G")
        for volume in ("thick", "thin"):
            (tmp_path / f"{volume}.key").write_bytes(evsd.data_key(volume))
        (tmp_path / "exported.key").write_bytes(volume_key(exported, passphrase))
        disks = [evsd.pool_file("thick"), exported, evsd.pool_file("thin")]
        result = guest.run(SCRIPT, disks=disks)
    exported.unlink()
    assert result.status == 0, result.output
    assert "the same on vda" in result.output
    assert "the same on vdb" in result.output
    assert added.name == "passphrase"
    assert "the same by the passphrase" in result.output
    assert "Unmet LUKS2 requirements" in result.output
