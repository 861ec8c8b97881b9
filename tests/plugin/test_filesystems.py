"""Real filesystems on a served volume: a copy of the sources, unmounted, checked, compared."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.faulty import await_mount
from tests.support.nbdkit import START_TIMEOUT_S
from tests.support.volume import MIB, Volume, new_volume

CHECKOUT = Path(__file__).parents[2]
PARTS = ("evsd", "nbd_plugin", "tests", "docs")
MAKE = {"ext4": ["mkfs.ext4", "-q"], "xfs": ["mkfs.xfs", "-q"]}
CHECK = {"ext4": ["e2fsck", "-f", "-n"], "xfs": ["xfs_repair", "-n"]}


@contextmanager
def device(volume: Volume, directory: Path) -> Iterator[str]:
    """The export as a loop device, over FUSE."""
    mounted = directory / "nbd"
    mounted.touch()
    process = subprocess.Popen(["nbdfuse", str(mounted), volume.uri])
    try:
        await_mount(mounted, process)
        made = subprocess.run(
            ["losetup", "--find", "--show", mounted], capture_output=True, text=True, check=True
        )
        yield made.stdout.strip()
        subprocess.run(["losetup", "--detach", made.stdout.strip()], check=True)
    finally:
        subprocess.run(["fusermount3", "-u", mounted], check=True)
        process.wait(START_TIMEOUT_S)


@contextmanager
def mounted(source: str, directory: Path) -> Iterator[Path]:
    """Until the block ends."""
    subprocess.run(["mount", source, directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)


@pytest.mark.parametrize(("kind", "thin"), [("ext4", True), ("xfs", True), ("xfs", False)])
def test_a_source_tree_is_the_same_and_the_filesystem_clean(
    tmp_path: Path, kind: str, thin: bool
) -> None:
    directory = tmp_path / "mounted"
    directory.mkdir()
    with new_volume(tmp_path, size=320 * MIB, thin=thin) as volume:
        with volume.served(), device(volume, tmp_path) as made:
            subprocess.run([*MAKE[kind], made], check=True)
            with mounted(made, directory):
                for part in PARTS:
                    # Other tests compile meanwhile.
                    bare = shutil.ignore_patterns("__pycache__")
                    shutil.copytree(CHECKOUT / part, directory / part, ignore=bare)
        # Another server: nothing is left of the first one's memory.
        with volume.served(), device(volume, tmp_path) as made:
            subprocess.run([*CHECK[kind], made], check=True, capture_output=True)
            with mounted(made, directory):
                for part in PARTS:
                    subprocess.run(
                        ["diff", "-r", "-x", "__pycache__", CHECKOUT / part, directory / part],
                        check=True,
                    )


@pytest.mark.parametrize("block", ["512", "4k", "512-64k"])
def test_fio_finds_what_it_wrote(volume: Volume, tmp_path: Path, block: str) -> None:
    with volume.served():
        done = subprocess.run(
            [
                *("fio", "--name=verify", "--ioengine=nbd", f"--uri={volume.uri}"),
                *("--rw=randwrite", "--iodepth=16", "--size=8m", "--verify=crc32c"),
                *("--do_verify=1", "--verify_fatal=1", "--output-format=json"),
                "--bsrange=512-64k" if "-" in block else f"--bs={block}",
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    job = json.loads(done.stdout[done.stdout.index("{") :])["jobs"][0]
    assert job["error"] == 0
    assert job["read"]["io_bytes"] == job["write"]["io_bytes"] == 8 * MIB
