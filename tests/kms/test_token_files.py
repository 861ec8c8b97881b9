"""Tokens in files that nobody else syncs. The calls that are counted are ours."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.support.tokens import (
    SOFTHSM,
    ForeignToken,
    nss,
    opencryptoki,
    softhsm_by_p11_kit,
)

MakeToken = Callable[[], AbstractContextManager[ForeignToken]]

GENERATE = """
import sys
from pathlib import Path
from evsd.key_process.token.token import Token, TokenSettings
with Token(TokenSettings(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))) as token:
    token.ensure("cmk/before")
    print("begins", file=sys.stderr)
    token.{operation}
"""
FIND = """
import os, sys
from pathlib import Path
import pkcs11
from evsd.key_process.token.files import files_of
token = pkcs11.lib(sys.argv[1]).get_token(token_label=sys.argv[2])
os.environ["SOFTHSM2_CONF"] = sys.argv[4]
print(files_of(token))
"""


def synced(token: ForeignToken, module: Path, operation: str) -> list[str]:
    """The files that are synced while an operation on a key is carried out."""
    traced = token.run(
        *("strace", "-f", "-y", "-e", "trace=fsync,fdatasync,write", "-s", "6"),
        *(sys.executable, "-c", GENERATE.format(operation=operation)),
        *(module, token.label, token.pin_file),
    )
    assert traced.returncode == 0, traced.stderr
    _, _, done = traced.stderr.partition('"begins"')
    return re.findall(r"f(?:data)?sync\(\d+<(.*?)>", done)


@pytest.mark.parametrize("operation", ["generate('cmk/durable')", "destroy('cmk/before')"])
@pytest.mark.parametrize(
    ("make", "module", "object_file", "directory"),
    [
        (softhsm_by_p11_kit, SOFTHSM, r"\.object$", r"/tokens/[^/]*$"),
        (softhsm_by_p11_kit, None, r"\.object$", r"/tokens/[^/]*$"),
        (opencryptoki, None, r"/TOK_OBJ/OBJ\.IDX$", r"/TOK_OBJ$"),
    ],
    ids=["softhsm", "softhsm by p11-kit", "opencryptoki"],
)
def test_a_change_is_on_disk_before_it_counts(
    make: MakeToken, module: Path | None, object_file: str, directory: str, operation: str
) -> None:
    with make() as token:
        files = synced(token, module or token.module, operation)
    assert any(re.search(directory, path) for path in files), files
    if operation.startswith("generate") or make is opencryptoki:
        assert any(re.search(object_file, path) for path in files), files


def find(token: ForeignToken, config: Path) -> subprocess.CompletedProcess[str]:
    """Where the token's files are, for who was told that this is SoftHSM's configuration."""
    return token.run(sys.executable, "-c", FIND, SOFTHSM, token.label, token.pin_file, config)


def test_a_softhsm_whose_files_can_not_be_found_is_refused(tmp_path: Path) -> None:
    empty, config = tmp_path / "empty", tmp_path / "softhsm2.conf"
    empty.mkdir()
    config.write_text(f"directories.tokendir = {empty}\n")
    with softhsm_by_p11_kit() as token:
        found = find(token, token.directory / "softhsm2.conf")
        assert Path(found.stdout.strip()).parent == token.directory / "tokens"
        for elsewhere in (config, tmp_path / "missing"):
            refused = find(token, elsewhere)
            assert refused.returncode == 1
            assert "never syncs its files" in refused.stderr
            assert str(elsewhere) in refused.stderr


def test_nss_syncs_its_own_files() -> None:
    with nss() as token:
        files = synced(token, token.module, "generate('cmk/durable')")
    assert any("key4.db" in path for path in files), files
