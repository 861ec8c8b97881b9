"""What tests run beside each other is not felt by the others: mount namespaces and tokens."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.namespaces import own_mounts
from tests.support.tokens import opencryptoki


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """Something that nobody tells other namespaces of, as in a container."""
    subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path], check=True)
    subprocess.run(["mount", "--make-private", tmp_path], check=True)
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_namespace_keeps_no_copy_of_what_another_test_mounted(mounted: Path) -> None:
    inside = subprocess.check_output([*own_mounts(), "cat", "/proc/self/mountinfo"], text=True)
    assert str(mounted) not in inside
    assert str(mounted) in Path("/proc/self/mountinfo").read_text()


# Its user goes on with what it read at its start, whatever the files of its own token say.
USE = """
import sys, pkcs11
from pathlib import Path
token = pkcs11.lib(sys.argv[1]).get_token(token_label=sys.argv[2])
with token.open(rw=True, user_pin=Path(sys.argv[3]).read_text().strip()) as session:
    print("ready", flush=True)
    sys.stdin.read()
    session.generate_key(pkcs11.KeyType.AES, 256)
"""


def test_a_new_token_leaves_one_that_is_in_use_as_it_is() -> None:
    with (
        opencryptoki() as used,
        subprocess.Popen(
            [*used.before, sys.executable, "-c", USE, used.module, used.label, used.pin_file],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as user,
    ):
        assert user.stdout
        assert user.stdout.readline() == "ready\n"
        with opencryptoki() as new:
            initialised = new.run("sh", "-c", "echo new | pkcsconf -c 3 -I -S 76543210")
            assert initialised.returncode == 0, initialised
            _, trouble = user.communicate()
        assert (user.returncode, trouble) == (0, "")
