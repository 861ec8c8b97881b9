"""Tokens that are neither evsd's own nor SoftHSM2 by itself, each in namespaces of its own.

What they keep below /run and /var, and their daemons, are then nobody else's, and p11-kit's modules
are those that a test wants. An evsd that uses one is started in the same namespaces.
"""

from __future__ import annotations

import grp
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.daemon import Evsd
from tests.support.hsm import LABEL, PIN
from tests.support.namespaces import own_mounts

LIBRARIES = Path("/usr/lib/x86_64-linux-gnu")
P11_KIT_PROXY = LIBRARIES / "p11-kit-proxy.so"
SOFTHSM = Path("/usr/lib/softhsm/libsofthsm2.so")
HALVES = ("cbc", "mac")  # how the labels of a key's two objects end
NSS_LABEL = "NSS Certificate DB"


@dataclass(frozen=True)
class ForeignToken:
    """How to reach one."""

    directory: Path
    module: Path
    label: str
    before: tuple[str, ...]  # a command that enters its namespaces, and becomes what follows
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def pin_file(self) -> Path:
        return self.directory / "pin"

    @property
    def options(self) -> tuple[str, ...]:
        """Of evsd."""
        settings = self.directory / "evsd.toml"
        variables = ", ".join(f'{name} = "{value}"' for name, value in self.environment.items())
        settings.write_text(
            f'[hsm]\nmodule = "{self.module}"\ntoken_label = "{self.label}"\n'
            f'pin_file = "{self.pin_file}"\nenvironment = {{ {variables} }}\n'
        )
        settings.chmod(0o644)
        return ("--config", str(settings))

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command where the token is."""
        return subprocess.run(
            [*self.before, *command],
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@contextmanager
def _namespaces(prepare: str, clear_up: str = "") -> Iterator[tuple[Path, tuple[str, ...]]]:
    """A directory, and what enters the namespaces in which `prepare` was run with it as $1."""
    with tempfile.TemporaryDirectory(prefix="evsd-token-", dir="/tmp") as name:
        directory = Path(name)
        directory.chmod(0o755)
        (directory / "pin").write_text(f"{PIN}\n")
        (directory / "pin").chmod(0o644)
        # It waits for the end of its input, and is ready when it has said so.
        script = f"set -e\n{prepare}\necho ready\nread -r _ || true\n{clear_up}\n"
        with subprocess.Popen(
            [*own_mounts("--ipc"), "bash", "-c", script, "bash", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as holder:
            assert holder.stdin
            assert holder.stdout
            assert holder.stderr
            if holder.stdout.readline() != "ready\n":
                raise AssertionError(holder.stderr.read())
            try:
                yield directory, ("nsenter", f"--target={holder.pid}", "--mount", "--ipc", "--")
            finally:
                holder.stdin.close()


OPENCRYPTOKI = f"""
# What it shares between processes is a file in /dev/shm, named after its directory alone.
for directory in /run /var/lib/opencryptoki /dev/shm; do mount -t tmpfs none $directory; done
mkdir -p /run/lock/opencryptoki/swtok /run/opencryptoki /var/lib/opencryptoki/swtok/TOK_OBJ
printf 'version opencryptoki-3.8\\nslot 3\\n{{\\nstdll = libpkcs11_sw.so\\n}}\\n' > /run/conf
mount --bind /run/conf /etc/opencryptoki/opencryptoki.conf
# Whoever evsd becomes belongs to the token's group.
sed 's/^pkcs11:.*/&,evsd/; s/:,evsd/:evsd/' /etc/group > /run/group
chmod 644 /run/group
mount --bind /run/group /etc/group
chgrp -R pkcs11 /run/lock/opencryptoki /var/lib/opencryptoki
chmod -R g+rwxs /run/lock/opencryptoki /var/lib/opencryptoki
pkcsslotd -f >&2 &
until pkcsconf -s >/dev/null 2>&1; do sleep 0.1; done
{{
    echo '{LABEL}' | pkcsconf -c 3 -I -S 87654321  # the factory's PIN
    pkcsconf -c 3 -P -S 87654321 -n 76543210
    pkcsconf -c 3 -u -S 76543210 -n 12345678
    pkcsconf -c 3 -p -U 12345678 -n {PIN[:8]}
}} >&2
chmod -R g+rwX /run/lock/opencryptoki /var/lib/opencryptoki
echo {PIN[:8]} > $1/pin
"""
END_OF_OPENCRYPTOKI = "kill %1; wait"


@contextmanager
def opencryptoki() -> Iterator[ForeignToken]:
    """The soft token of openCryptoki, with its daemon."""
    grp.getgrnam("pkcs11")
    with _namespaces(OPENCRYPTOKI, END_OF_OPENCRYPTOKI) as (directory, before):
        yield ForeignToken(directory, LIBRARIES / "libopencryptoki.so.0", LABEL, before)


NSS = f"""
mkdir $1/db $1/modules
certutil -N -d sql:$1/db -f $1/pin
chmod -R a+rwX $1/db
cat > $1/modules/nss.module <<END
module: {LIBRARIES}/libsoftokn3.so
x-init-reserved: configdir='sql:$1/db' certPrefix='' keyPrefix='' secmod='secmod.db' flags=
END
mount --bind $1/modules /usr/share/p11-kit/modules
"""


@contextmanager
def nss() -> Iterator[ForeignToken]:
    """NSS's soft token, which needs arguments that p11-kit's proxy gives it."""
    with _namespaces(NSS) as (directory, before):
        yield ForeignToken(directory, P11_KIT_PROXY, NSS_LABEL, before)


SOFTHSM_BY_P11_KIT = f"""
mkdir $1/tokens $1/modules
printf 'directories.tokendir = %s/tokens\\nlog.level = ERROR\\n' $1 > $1/softhsm2.conf
SOFTHSM2_CONF=$1/softhsm2.conf softhsm2-util --init-token --free --label='{LABEL}' \\
    --pin={PIN} --so-pin={PIN} >&2
chmod -R a+rwX $1
echo 'module: {SOFTHSM}' > $1/modules/softhsm2.module
mount --bind $1/modules /usr/share/p11-kit/modules
"""


@contextmanager
def softhsm_by_p11_kit() -> Iterator[ForeignToken]:
    """SoftHSM2 behind p11-kit's proxy."""
    with _namespaces(SOFTHSM_BY_P11_KIT) as (directory, before):
        conf = {"SOFTHSM2_CONF": str(directory / "softhsm2.conf")}
        yield ForeignToken(directory, P11_KIT_PROXY, LABEL, before, conf)


LIST = """
import sys, pkcs11
from pathlib import Path
token = pkcs11.lib(sys.argv[1]).get_token(token_label=sys.argv[2])
with token.open(user_pin=Path(sys.argv[3]).read_text().strip()) as session:
    for key in session.get_objects({pkcs11.Attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY}):
        print(key.label)
"""


def key_count(evsd: Evsd, token: ForeignToken | None) -> int:
    """How many keys are on the token of an evsd, which may go on using it."""
    if token is None:
        return len(list((evsd.state / "token" / "tokens").glob("*/*.object")))
    listed = token.run(sys.executable, "-c", LIST, token.module, token.label, token.pin_file)
    assert listed.returncode == 0, listed.stderr
    labels = listed.stdout.splitlines()
    ciphers, macs = (sum(label.endswith(f"/{half}") for label in labels) for half in HALVES)
    return len(labels) - min(ciphers, macs)  # a half by itself is something left, too


@contextmanager
def embedded() -> Iterator[None]:
    """The one that evsd makes itself."""
    yield None


TOKENS: dict[str, Callable[[], AbstractContextManager[ForeignToken | None]]] = {
    "softhsm": embedded,
    "opencryptoki": opencryptoki,
    "nss": nss,
}
