"""A token that is not evsd's own: SoftHSM2 behind a module that can be told to misbehave."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

PROXY_SOURCE = Path(__file__).with_name("pkcs11_proxy.c")
PIN = "1234567890"
LABEL = "hsm under test"

DEVICE_REMOVED, SESSION_HANDLE_INVALID, TOKEN_NOT_PRESENT = "0x32", "0xb3", "0xe0"
MECHANISM_INVALID, TEMPLATE_INCONSISTENT = "0x70", "0xd1"


def build_proxy(module: Path) -> None:
    """Compile the module; its source says what it can do."""
    command = ["gcc", "-shared", "-fPIC", "-I/usr/include/p11-kit-1"]
    subprocess.run([*command, "-o", module, PROXY_SOURCE], check=True)


class Hsm:
    """One token, its files and the switch of its module, all in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.module = directory / "proxy.so"
        self.pin_file = directory / "pin"
        self._tokens, self._switch = directory / "tokens", directory / "switch"
        self._gcm = directory / "gcm"
        self._tokens.mkdir()
        self.pin_file.write_text(f"{PIN}\n")
        self._switch.touch()
        (directory / "softhsm2.conf").write_text(
            f"directories.tokendir = {self._tokens}\nlog.level = ERROR\n"
        )
        build_proxy(self.module)
        self.initialise(LABEL)

    @cached_property
    def environment(self) -> dict[str, str]:
        """What the module needs."""
        return {
            "SOFTHSM2_CONF": str(self.directory / "softhsm2.conf"),
            "EVSD_TEST_PKCS11": str(self._switch),
            "EVSD_TEST_PKCS11_GCM": str(self._gcm),
        }

    def initialise(self, label: str) -> None:
        """Make a new token."""
        pins = [f"--pin={PIN}", f"--so-pin={PIN}"]
        subprocess.run(
            ["softhsm2-util", "--init-token", "--free", f"--label={label}", *pins],
            env={**os.environ, **self.environment},
            check=True,
            capture_output=True,
        )
        # evsd may become another user than the one that runs the tests.
        subprocess.run(["chmod", "-R", "a+rwX", self.directory], check=True)

    def config(self, pin: str | None = None, **changes: str) -> Path:
        """A settings file for evsd that names this token."""
        fields = {
            "module": f'"{self.module}"',
            "token_label": f'"{LABEL}"',
            "environment": "{"
            + ", ".join(f'{name} = "{value}"' for name, value in self.environment.items())
            + "}",
            **changes,
        }
        lines = [f"{name} = {value}" for name, value in fields.items() if value]
        path = self.directory / "evsd.toml"
        path.write_text("\n".join(["[hsm]", *lines, pin or f'pin_file = "{self.pin_file}"']) + "\n")
        path.chmod(0o644)
        return path

    def misbehave(self, how: str, only: str = "", *, once: bool = False) -> None:
        """Let the module's functions, or one of them, do so: see the module's source."""
        self._switch.write_text(f"{how} {only} {'once' if once else ''}\n")

    def behave(self) -> None:
        """End any misbehaviour."""
        self._switch.write_text("")

    def gcm(self, how: str = "") -> None:
        """How it does AES-GCM: see the module's source."""
        self._gcm.write_text(how)

    def objects(self) -> set[str]:
        """The names of the files that hold objects."""
        return {path.name for path in self._tokens.glob("*/*.object")} - {"token.object"}

    def take_away(self) -> None:
        """Let the token vanish with all its keys."""
        self._tokens.rename(self.directory / "away")

    def bring_back(self) -> None:
        """Undo `take_away`."""
        (self.directory / "away").rename(self._tokens)

    def replace(self) -> None:
        """Put a token of the same label there that has never been used."""
        self.take_away()
        self._tokens.mkdir()
        self.initialise(LABEL)


@contextmanager
def new_hsm() -> Iterator[Hsm]:
    """A token of its own, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="evsd-hsm-", dir="/tmp") as directory:
        Path(directory).chmod(0o755)
        yield Hsm(Path(directory))
