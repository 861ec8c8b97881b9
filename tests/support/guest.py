"""A Linux guest for what the tests' own kernel can't do: nbd, device-mapper, losing power.

Debian's stock kernel (tools/guest_kernel.py fetches it) under qemu's TCG. The root of the guest
is the root of this machine, read-only over 9p, with a tmpfs over it: every program, the checkout
and its .venv are there at the same paths, and nothing the guest writes outside $SHARE is kept.

    def test_it(guest: Guest) -> None:                     # fixture of tests/guest/conftest.py
        result = guest.run('''
            nbdkit -U /run/s -P /run/s.pid memory 64M
            python - <<'END'
            from evsd.connector import connect
            ...
            END
        ''')
        assert result.status == 0, result.output

The script is bash, run by PID 1's child as root in the checkout. It finds:
- PATH with .venv/bin first, PYTHONPATH the checkout and tests/support/as_installed, which hides
  what is slow to load and there for tests alone, HOME=/root (writable);
- /proc /sys /dev (devtmpfs) /dev/pts /dev/shm /dev/fuse, the loop module, cgroup2;
- /tmp and /run as empty tmpfs (each may take half of the memory);
- `lo` up, no other network; the clock and the random pool of a normal boot;
- kernel modules: /lib/modules belongs to the running kernel, so `modprobe nbd` works;
- $SHARE, a directory kept on this machine: `guest.share`. O_DIRECT works on neither overlay nor
  tmpfs nor $SHARE, only on a disk: `run(disks=[image])` gives /dev/vda, /dev/vdb...
- `power_off_now`, a shell function: the plug is pulled, nothing is written back; `status` is
  None then. Data on `disks` which the guest had flushed is there at the next run.

A boot is about 3 s and a Python start 0.5 s, so put what belongs together in one run; guests
cost `memory_mib` + 200 MiB here. The script's exit status is the result's; `set -e` is yours to
say. A script still running after `timeout` seconds is killed with the machine: GuestTimeout.

`boot_from_nbd` is the other use: a guest whose root *disk* is an NBD export, as a virtual
machine on a volume has it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support import initramfs
from tests.support.daemon import until
from tests.support.qmp import Monitor

CHECKOUT = Path(__file__).resolve().parents[2]
AS_INSTALLED = Path(__file__).with_name("as_installed")
KERNEL = CHECKOUT / ".cache" / "guest" / "vmlinux"
TIMEOUT_S = 1800
"""For whatever hangs: the longest script takes two minutes, and fifteen on a slow, busy machine."""

_COMMAND_LINE = (
    # A kernel whose emulated timer is late, as on a busy machine, panics at boot for want of this.
    "console=ttyS0 quiet panic=-1 no_timer_check "
    # What protects from others in the machine, of whom there are none, takes its time.
    "mitigations=off init_on_alloc=0"
)
_QEMU = (
    # A guest is what a whole run waits for in the end: the other tests go on beside it.
    *("nice", "-n", "-10"),
    "qemu-system-x86_64",
    *("-accel", "tcg,thread=multi"),  # a stock kernel hangs under this kind of machine's KVM
    # One processor: two spin while they wait for each other, on a busy machine most of their time
    # (evsd's start in a guest took 93 s of processor time with two and 74 with one).
    # Without `rep movsb`, which TCG carries out byte by byte: files are copied in half of the time.
    *("-machine", "q35", "-cpu", "max,-erms,-fsrm", "-smp", "1"),
    *("-nodefaults", "-no-reboot", "-display", "none"),
    *("-kernel", str(KERNEL), "-append", _COMMAND_LINE),
)


# Where a disk can be plugged in: nothing can on the machine's own bus.
_A_FREE_PORT = ("-device", "pcie-root-port,id=free,chassis=1")


@dataclass(frozen=True)
class Result:
    """How a script in a guest ended."""

    status: int | None
    """Its exit status; None when the guest went down without one."""
    output: str
    """Its stdout and stderr."""
    console: str
    """What the kernel said."""


class GuestTimeout(AssertionError):
    """The guest was still running at the end of its time."""


class Guest:
    """Runs scripts, each in a fresh guest; `share` is the one directory that is kept."""

    def __init__(self, share: Path, *, memory_mib: int = 768) -> None:
        self.share = share
        self._memory_mib = memory_mib

    def run(self, script: str, timeout: float = TIMEOUT_S, *, disks: Sequence[Path] = ()) -> Result:
        """Run a bash script in a guest; see the module's description for what it finds there.

        `timeout` is in seconds and includes the boot. `disks` are raw images.
        """
        files = {"init": _INIT, "script": script}
        with _control_directory(files) as control:
            initramfs.build(
                control / "initramfs",
                modules=_modules(),
                wanted=("virtio_pci", "9pnet_virtio", "9p", "overlay"),
                init=_MOUNT_HOST_ROOT,
            )
            arguments = [
                *("-m", str(self._memory_mib)),
                *_shared("root", Path("/"), read_only=True),
                *_shared("share", self.share),
                *(a for disk in disks for a in _virtio_disk(f"driver=raw,file.filename={disk}")),
            ]
            return _boot(control, arguments, timeout)


def boot_from_nbd(socket_path: Path, script: str) -> Result:
    """Boot a guest whose root file system is the NBD export behind a unix socket.

    The export holds what `write_root` put there: ext4 with busybox. `script` is busybox sh, run
    by PID 1 with that root writable at /; afterwards it is synced, remounted read-only and the
    guest powered off. Nothing else of this machine is visible to it.
    """
    nbd = f"driver=raw,file.driver=nbd,file.server.type=unix,file.server.path={socket_path}"
    with running_from_disk(tuple(_virtio_disk(nbd)), script) as guest:
        return guest.result()


class RunningGuest:
    """One that runs beside the test; `control` is a directory of both, /run/control in there."""

    def __init__(self, control: Path, process: subprocess.Popen[str]) -> None:
        self.control = control
        self._process = process

    def monitor(self) -> Monitor:
        """Its qemu's."""
        until((self.control / "qmp").exists)
        return Monitor(self.control / "qmp")

    def word(self, name: str) -> str:
        """What the script has last written into a file of the control directory."""
        return _text(self.control / name).strip()

    def result(self) -> Result:
        """How the script ended; waits for it."""
        try:
            _, words = self._process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired as expired:
            raise _still_ran(self.control, TIMEOUT_S) from expired
        assert self._process.returncode == 0, words
        return _result(self.control)


@contextmanager
def running_from_disk(disk: Sequence[str], script: str) -> Iterator[RunningGuest]:
    """`boot_from_nbd` beside the test, with `disk` as qemu's options for the disk."""
    with _control_directory({"init": _SMALL_INIT, "script": script}) as control:
        initramfs.build(
            control / "initramfs",
            modules=_modules(),
            # ext4 asks the kernel's crypto API for crc32c by name, modules.dep does not say so.
            wanted=("virtio_pci", "virtio_blk", "9pnet_virtio", "9p", "crc32c_generic", "ext4"),
            init=_MOUNT_DISK_ROOT,
        )
        more = ("-m", "256", "-qmp", f"unix:{control}/qmp,server=on,wait=off", *disk)
        with subprocess.Popen(
            [*_command(control), *more, *_A_FREE_PORT],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield RunningGuest(control, process)
            finally:
                process.kill()


def write_root(socket_path: Path, *, size_mib: int = 32) -> None:
    """Put a root file system for `boot_from_nbd` on the NBD export behind a unix socket."""
    with tempfile.TemporaryDirectory() as scratch:
        image = Path(scratch) / "image"
        make_root_image(image, size_mib=size_mib)
        _run("nbdcopy", str(image), f"nbd+unix:///?socket={socket_path}")


def make_root_image(image: Path, *, size_mib: int = 32) -> None:
    """A sparse file with ext4 and busybox in it, made without mounting anything."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        for name in ("bin", "dev", "proc", "sys", "tmp", "run", "root"):
            (root / name).mkdir()
        for name in ("bin/busybox", "bin/sh"):
            (root / name).write_bytes(initramfs.BUSYBOX.read_bytes())
            (root / name).chmod(0o755)
        mke2fs = ("/sbin/mke2fs", "-q", "-t", "ext4", "-E", "root_owner=0:0", "-d", scratch)
        _run(*mke2fs, str(image), f"{size_mib}M")


def fetch_kernel() -> None:
    """Have the kernel ready; quick when it is already."""
    _run(sys.executable, str(CHECKOUT / "tools" / "guest_kernel.py"))


def _boot(control: Path, arguments: list[str], timeout: float) -> Result:
    try:
        _run(*_command(control), *arguments, timeout=timeout)
    except subprocess.TimeoutExpired as expired:
        raise _still_ran(control, timeout) from expired
    return _result(control)


def _still_ran(control: Path, timeout: float) -> GuestTimeout:
    seen = _result(control)
    said = f"{seen.output}\n--- console ---\n{seen.console}"
    return GuestTimeout(f"the guest still ran after {timeout} s; it said:\n{said}")


def _command(control: Path) -> list[str]:
    serial = ("-serial", f"file:{control / 'console'}")
    initrd = ("-initrd", str(control / "initramfs"))
    return [*_QEMU, *initrd, *serial, *_shared("control", control)]


def _result(control: Path) -> Result:
    status, output = _text(control / "status"), _text(control / "output")
    return Result(int(status) if status else None, output, _text(control / "console"))


@contextmanager
def _control_directory(files: dict[str, str]) -> Iterator[Path]:
    """A directory shared with one guest: scripts in, output and status out."""
    with tempfile.TemporaryDirectory(prefix="guest-") as scratch:
        directory = Path(scratch)
        for name, text in files.items():
            (directory / name).write_text(text)
        yield directory


def _shared(tag: str, path: Path, *, read_only: bool = False) -> Iterator[str]:
    # remap: the host's root spans several file systems whose inode numbers may collide.
    options = f"path={path},security_model=none,multidevs=remap"
    yield from ("-fsdev", f"local,id={tag},{options},readonly={'on' if read_only else 'off'}")
    yield from ("-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}")


def _virtio_disk(block: str) -> Iterator[str]:
    yield from ("-drive", f"if=virtio,{block}")


def _modules() -> Path:
    return next((KERNEL.parent / "modules").iterdir())


def _run(*argv: str, timeout: float = TIMEOUT_S) -> None:
    """Run with no input; AssertionError with its words when it fails."""
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout
    )
    assert done.returncode == 0, f"{argv[0]}: {done.stderr}"


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


_NINE_P = "trans=virtio,version=9p2000.L,msize=512000"

# PID 1 itself must switch_root, or the kernel's own modprobe looks for modules in the initramfs.
_MOUNT_HOST_ROOT = f"""
mount -t 9p -o ro,cache=loose,{_NINE_P} root /host
mount -t tmpfs tmpfs /rw
mkdir /rw/upper /rw/work
mount -t overlay -o lowerdir=/host,upperdir=/rw/upper,workdir=/rw/work overlay /new
mount -t tmpfs tmpfs /new/run
mkdir /new/run/control /new/run/share
mount -t 9p -o {_NINE_P} control /new/run/control
mount -t 9p -o {_NINE_P} share /new/run/share
exec switch_root /new /bin/bash /run/control/init
"""

_MOUNT_DISK_ROOT = f"""
mount -t devtmpfs dev /dev
mount -t ext4 /dev/vda /new
mount -t tmpfs tmpfs /new/run
mkdir /new/run/control
mount -t 9p -o {_NINE_P} control /new/run/control
exec switch_root /new /bin/sh /run/control/init
"""

_INIT = f"""
export PATH={CHECKOUT}/.venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PYTHONPATH={CHECKOUT}:{AS_INSTALLED} HOME=/root USER=root LANG=C.UTF-8 SHARE=/run/share
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mkdir -p /lib/modules /run/checkout
mount --bind {KERNEL.parent}/modules /lib/modules
# A checkout below /tmp must outlive the new /tmp.
mount --bind {CHECKOUT} /run/checkout
mount -t tmpfs -o mode=1777 tmpfs /tmp
if [ ! -e {CHECKOUT}/tests ]; then mkdir -p {CHECKOUT}; mount --move /run/checkout {CHECKOUT}; fi
ip link set lo up
modprobe -a fuse loop virtio_blk
power_off_now() {{ echo o >/proc/sysrq-trigger; sleep 60; }}
export -f power_off_now
cd {CHECKOUT}
bash /run/control/script >/run/control/output 2>&1 </dev/null
echo $? >/run/control/status
sync
busybox poweroff -f
"""

_SMALL_INIT = """
export PATH=/bin HOME=/root
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
sh /run/control/script >/run/control/output 2>&1 </dev/null
echo $? >/run/control/status
sync
mount -o remount,ro /
poweroff -f
"""


if __name__ == "__main__":  # try a script by hand: python -m tests.support.guest < script
    with tempfile.TemporaryDirectory() as own:
        fetch_kernel()
        outcome = Guest(Path(own)).run(sys.stdin.read(), float(os.environ.get("TIMEOUT", "60")))
        print(outcome.output or outcome.console, end="")
        sys.exit(1 if outcome.status is None else outcome.status)
